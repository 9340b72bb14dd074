"""Images: encoded files and arrays to batches of 28x28 pixels."""
