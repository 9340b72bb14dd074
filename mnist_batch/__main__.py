"""`python -m mnist_batch`, in case the console script is not on the path."""

from mnist_batch.cli.entry import run

run()
