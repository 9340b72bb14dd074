"""Sources: which files the inputs are, and how each format is read."""
