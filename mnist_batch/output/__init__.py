"""The output folder: formats, staging, commit, lock, manifest."""
