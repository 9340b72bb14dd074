"""`mnist-batch predict` with a tiny fake model instead of TensorFlow, so that hundreds of starts take minutes.

Everything else is real: planning, locking, writing, committing, signals, exit codes.
FAKE_SECONDS in the environment is how long each batch takes.
"""

from __future__ import annotations

import os
import sys
import time
import types
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mnist_batch.records import Pixels, Scores


class FakeModel:
    """What `run_job` reads of a loaded model. scale: not used."""

    scale, output, form = "0..1", "probabilities", "28x28"
    warnings = ()
    result = types.SimpleNamespace(confidence=0.91)
    opened = types.SimpleNamespace(repairs=())

    def __init__(self, path: Path, scale: object) -> None:  # noqa: ARG002  # the signature of `load_model`
        from mnist_batch.model.card import find_card, model_digest

        self.digest = model_digest(path)
        self.card = find_card(path, self.digest)


class FakePredictor:
    """Scores a digit by its ink, so that any change to a row's pixels changes its prediction."""

    batch_splits = 0
    failures: Mapping[int, str] = {}

    def __init__(self, model: FakeModel, _: int) -> None:
        self.model = model
        self.seconds = float(os.environ.get("FAKE_SECONDS", "0"))

    def score(self, batches: Iterable[Pixels]) -> Iterator[Scores]:
        # Not at the top: `run` must block the signals before NumPy starts its threads, or they would take the signals.
        import numpy as np

        from mnist_batch.records import Scores

        for pixels in batches:
            time.sleep(self.seconds)
            ink = pixels.reshape(len(pixels), -1).sum(axis=1, dtype=np.int64)
            probabilities = np.where(np.eye(10)[ink % 10] == 1, 0.91, 0.01).astype(np.float32)
            yield Scores(probabilities, probabilities.max(axis=1))


def install_fakes() -> None:
    """Puts the fakes where `run/job.py` imports the real ones from."""
    for name, content in (
        ("mnist_batch.model.loading", {"load_model": FakeModel}),
        ("mnist_batch.model.predictor", {"TensorFlowPredictor": FakePredictor}),
    ):
        module = types.ModuleType(name)
        vars(module).update(content)
        sys.modules[name] = module


if __name__ == "__main__":
    install_fakes()
    from mnist_batch.cli.entry import run

    run("predict")
