"""The job that schedulers run: `python jobs/predict.py INPUT... --output OUT`, the same as `mnist-batch predict`."""

from mnist_batch.cli.app import run

if __name__ == "__main__":
    run("predict")
