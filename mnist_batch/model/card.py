"""The model card: what is known about a model beyond its weights, as JSON beside them.

A card `NAME.card.json` describes `NAME.h5`, `NAME.keras` and the SavedModel folder `NAME`. It applies only to the exact
bytes whose digests it lists, so that a file overwritten by a newly trained model has no card, rather than a wrong one.
This module imports no TensorFlow.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from mnist_batch.config import Scale
from mnist_batch.errors import ModelError
from mnist_batch.records import first_line

_SUFFIXES = (".keras", ".h5", ".hdf5")
# For error messages.
ACCEPTED_FORMATS = "a .keras or .h5 file, or a SavedModel folder"


class OutputKind(StrEnum):
    """What a model's ten outputs are."""

    PROBABILITIES = "probabilities"
    LOGITS = "logits"


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What a model takes and returns, how good it is, and how that was measured.

    scale: the pixel values of black and white that the model was trained on.
    temperature: divides the logits before the softmax; 1 if no calibration was fitted (Guo et al. 2017).
    digests: SHA-256 of each format the model was saved in, by file name.
    accuracy, ece, nll: measured on the `evaluated_rows` rows of `evaluated_on`, which no choice was based on.
    training: recipe, seed, epochs, rows and library versions of the training.
    profile: the reference for drift, as `report.drift.build_profile` makes it.
    """

    name: str
    scale: Scale
    output: OutputKind
    temperature: float
    digests: dict[str, str]
    accuracy: float
    ece: float
    nll: float
    evaluated_on: str
    evaluated_rows: int
    training: dict[str, Any]
    profile: dict[str, Any] | None = None

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")


def read_card(path: Path) -> ModelCard:
    """Reads the card in `path`. Raises ModelError if it cannot be read or is not a card."""
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        parsed = {
            "scale": Scale(fields["scale"]),
            "output": OutputKind(fields["output"]),
            "temperature": float(fields["temperature"]),
        }
        card = ModelCard(**(fields | parsed))
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise invalid_card(path, first_line(error)) from error
    if not 0 < card.temperature < math.inf:
        raise invalid_card(path, f"temperature {card.temperature}")
    if not (card.profile is None or isinstance(card.profile, dict)):
        raise invalid_card(path, "a profile that is not an object")
    if not isinstance(card.digests, dict):
        raise invalid_card(path, "digests that are not an object")
    return card


def invalid_card(path: Path, found: str) -> ModelError:
    """The error for a card that cannot be used. found: what is wrong with it."""
    return ModelError(f"{path}: a model card must be the JSON that `train` writes, found {found}: remove it")


def card_path(model: Path) -> Path:
    """Returns the path of a model's card, whether or not there is one."""
    stem = model.name.removesuffix(model.suffix) if model.suffix in _SUFFIXES else model.name
    return model.with_name(f"{stem}.card.json")


def find_card(model: Path, digest: str) -> ModelCard | None:
    """Returns the model's card if it lists `digest`, otherwise None. Raises ModelError if the card cannot be read."""
    path = card_path(model)
    if not path.is_file():
        return None
    card = read_card(path)
    return card if digest in card.digests.values() else None


def check_model_path(model: Path) -> None:
    """Raises ModelError if `model` is neither a file nor a SavedModel folder. Opens nothing.

    Call this first: opening a pipe would block, and a large folder would be digested before it is refused.
    """
    if model.is_file() or (model / "saved_model.pb").is_file():
        return
    found = "nothing there"
    if model.exists():
        found = "a folder without saved_model.pb" if model.is_dir() else "neither file nor folder"
    raise ModelError(f"{model}: a model must be {ACCEPTED_FORMATS}, found {found}: check the path")


def model_digest(model: Path) -> str:
    """Returns the SHA-256 of a model in hex: of a file its bytes, of a folder its sorted relative paths and contents.

    Raises ModelError if the model cannot be read.
    """
    try:
        if model.is_file():
            return _file_digest(model)
        total = hashlib.sha256()
        for path in sorted(p for p in model.rglob("*") if p.is_file()):
            total.update(f"{path.relative_to(model).as_posix()}\0{_file_digest(path)}\n".encode())
        return total.hexdigest()
    except OSError as error:
        raise ModelError(
            f"{model}: a model must be readable, found {(error.strerror or str(error)).lower()}: check the path"
        ) from error


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
