"""Renders a report as an HTML page, as Markdown and as JUnit XML."""
