"""Images in a tar archive, plain or gzip."""
