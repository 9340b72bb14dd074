"""Images: turns encoded files and arrays into batches of 28x28 pixels."""
