"""Images in a zip archive."""
