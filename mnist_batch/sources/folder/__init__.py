"""Image files in a folder."""
