"""`check-model`: what a model is, before a long run relies on it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

import numpy as np

from mnist_batch.config import DEFAULT_BATCH_SIZE, Scale
from mnist_batch.model.loading import LoadedModel, load_model
from mnist_batch.model.predictor import TensorFlowPredictor
from mnist_batch.model.selftest import ScaleResult, load_drawn_digits

# The speed is measured for at least this long, after a first batch.
_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class ModelCheck:
    """What `check-model` prints.

    sha256: as `card.model_digest` returns it.
    form: what the file is, with the version that wrote it.
    layers: in one line; empty for a SavedModel, which does not tell.
    input, output: how it takes an image, and what its ten outputs are.
    evidence: what the self-test gave at each scale that it tried.
    scale_from: "card", "--scale" or "self-test".
    accuracy: share of the careful digits that it recognizes, 0..1.
    images_per_second: of scoring alone, on this machine.
    """

    model: str
    sha256: str
    form: str
    layers: str
    input: str
    output: str
    scale: str
    scale_from: str
    evidence: Sequence[ScaleResult]
    repairs: Sequence[str]
    accuracy: float
    images_per_second: float
    warnings: Sequence[str]


def check_model(path: Path, scale: Scale | None) -> ModelCheck:
    """Loads a model as `predict` does, and measures its speed. Raises ModelError if `predict` would refuse it."""
    model = load_model(path, scale)
    origin = "card" if model.card else "self-test" if scale is None else "--scale"
    return ModelCheck(
        model=str(path),
        sha256=model.digest,
        form=model.opened.form,
        layers=model.opened.layers,
        input=f"{model.opened.inputs[0]}, {model.form}",
        output=model.output,
        scale=model.scale,
        scale_from=origin,
        evidence=model.selftest.results,
        repairs=model.opened.repairs,
        accuracy=model.result.accuracy,
        images_per_second=_measure_speed(model),
        warnings=model.warnings,
    )


def _measure_speed(model: LoadedModel) -> float:
    predictor = TensorFlowPredictor(model, DEFAULT_BATCH_SIZE)
    digits = load_drawn_digits().varied
    batch = np.concatenate([digits] * (DEFAULT_BATCH_SIZE // len(digits) + 1))[:DEFAULT_BATCH_SIZE]
    scores = predictor.score(repeat(batch))
    next(scores)
    images, started = 0, time.perf_counter()
    while (seconds := time.perf_counter() - started) < _SECONDS:
        images += len(next(scores))
    return images / seconds
