"""Models as people save them are scored at the scale they were trained on, as well as Keras itself does.

`field_models.py` makes them. Accuracy is measured on MNIST's 10,000 test images. Nothing is chosen by it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mnist_batch.config import Scale
from mnist_batch.errors import ModelError
from mnist_batch.model.loading import LoadedModel, load_model
from mnist_batch.sources.idx import read_idx, read_labels
from model.saved_models import score

pytestmark = [pytest.mark.slow, pytest.mark.real_data]

SCRIPT = Path(__file__).with_name("field_models.py")
# What `load_model` may say of a model, instead of scoring it.
ASKED = "the scale of its pixels must be clear"
WEAK = "train it longer"
REFUSAL = "found a Lambda layer (Python code), which safe loading refuses: replace it by a layer such as Rescaling"
MAY_BE_ASKED = ("conv_standardised.keras",)


@pytest.fixture(scope="module")
def mnist(real_data: Path) -> Path:
    return real_data / "mnist"


def write_models(mnist: Path, out: Path, legacy: bool) -> dict[str, dict[str, str]]:
    root = SCRIPT.parents[2]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(root), str(root / "tests")]),
        "TF_USE_LEGACY_KERAS": str(int(legacy)),
    }
    run = subprocess.run(
        [sys.executable, SCRIPT, mnist, out], env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr[-3000:]
    truth: dict[str, dict[str, str]] = json.loads((out / ("truth-2.json" if legacy else "truth.json")).read_text())
    return truth


def load(path: Path, scale: Scale) -> LoadedModel | str:
    """Loads a model, if need be with its scale named. Returns why it cannot be loaded."""
    try:
        return load_model(path, None)
    except ModelError as error:
        message = str(error)
    is_expected = (path.name in MAY_BE_ASKED and ASKED in message) or (
        path.name == "undertrained.keras" and WEAK in message
    )
    return load_model(path, scale) if is_expected else message


@pytest.mark.parametrize("legacy", [False, True], ids=["keras-3", "keras-2"])
def test_models_of_the_field(legacy: bool, mnist: Path, tmp_path: Path) -> None:
    images = read_idx(mnist / "t10k-images-idx3-ubyte.gz")
    labels = np.asarray(read_labels(mnist / "t10k-labels-idx1-ubyte.gz"))
    truth = write_models(mnist, tmp_path, legacy)
    assert len(truth) == (13 if legacy else 24)
    wrong = []
    for name, expected in truth.items():
        scale, right = Scale(expected["scale"]), float(expected["right"])
        model = load(tmp_path / name, scale)
        if isinstance(model, str):
            if name != "lambda_2.h5" or REFUSAL not in model:
                wrong.append(f"{name}: {model}")
            continue
        accuracy = float(np.mean(score(model, images).argmax(axis=1) == labels))
        if model.scale is not scale or abs(accuracy - right) > 0.001:
            wrong.append(f"{name}: {model.scale} {accuracy:.4f}, expected {scale} {right:.4f}")
    assert not wrong, "\n".join(wrong)
