"""`mnist-batch predict` with a model of a few lines in TensorFlow's place, so that hundreds of starts take minutes.

Everything else is real: planning, locking, writing, committing, signals, exit codes. FAKE_SECONDS slows each batch.
"""

import os
import sys
import time
import types
from types import MappingProxyType


class FakeModel:
    scale, output, carded = "0..1", "probabilities", True

    def __init__(self, path, _scale):
        from mnist_batch.model.card import model_digest

        self.digest = model_digest(path)


class FakePredictor:
    """Scores a digit by its ink: any change to a row's pixels changes its prediction."""

    batch_splits, failures = 0, MappingProxyType({})

    def __init__(self, *_):
        self.seconds = float(os.environ.get("FAKE_SECONDS", "0"))

    def probabilities(self, batches):
        import numpy as np  # not before `run` has blocked the signals: its threads would take them

        for pixels in batches:
            time.sleep(self.seconds)
            ink = pixels.reshape(len(pixels), -1).sum(axis=1, dtype=np.int64)
            yield np.where(np.eye(10)[ink % 10] == 1, 0.91, 0.01).astype(np.float32)


def stand_in() -> None:
    """Puts the fakes where `job.py` will look for the real ones."""
    loading, pipeline = types.ModuleType("mnist_batch.model.loading"), types.ModuleType("mnist_batch.model.predictor")
    loading.load_model = FakeModel
    pipeline.TensorFlowPredictor = FakePredictor
    sys.modules |= {loading.__name__: loading, pipeline.__name__: pipeline}


if __name__ == "__main__":
    stand_in()
    from mnist_batch.cli.app import run

    run("predict")
