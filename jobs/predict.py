"""A script for schedulers: `python jobs/predict.py INPUT... --output OUT` is the same as `mnist-batch predict`."""

from mnist_batch.cli.entry import run

if __name__ == "__main__":
    run("predict")
