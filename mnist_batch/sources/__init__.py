"""Sources: what the inputs are, and how each format is read."""
