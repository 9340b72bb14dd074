"""The model card: what must be known of a model beyond its weights, as JSON beside them.

A card `NAME.card.json` speaks for `NAME.h5`, `NAME.keras` and the SavedModel folder `NAME`, and only for the exact
bytes whose digests it lists: a file trained anew over an old one has no card, rather than a wrong one.
It imports no TensorFlow.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from mnist_batch.config import ValueRange
from mnist_batch.errors import ModelError
from mnist_batch.records import first_line

_SUFFIXES = (".keras", ".h5", ".hdf5")
MODEL_FORMS = "a .keras or .h5 file, or a SavedModel folder"


class OutputKind(StrEnum):
    """What a model's ten outputs are."""

    PROBABILITIES = "probabilities"
    LOGITS = "logits"


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What a model takes and gives, how good it is, and where that is known from.

    scale: the values black and white were trained as; temperature: divides the logits before the softmax, 1 where no
    calibration was fitted (Guo et al. 2017); digests: SHA-256 by file name of each form the model was saved in;
    accuracy, ece, nll: on the `evaluated_rows` rows of `evaluated_on`, never used to choose anything;
    training: recipe, seed, epochs, rows and library versions, as they were; profile: what drift is measured against, as
    `report.drift.profile_of` makes it.
    """

    name: str
    scale: ValueRange
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
    """The card in `path`. Raises ModelError where it is not one."""
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        read = {
            "scale": ValueRange(fields["scale"]),
            "output": OutputKind(fields["output"]),
            "temperature": float(fields["temperature"]),
        }
        card = ModelCard(**(fields | read))
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise invalid_card(path, first_line(error)) from error
    if not 0 < card.temperature < math.inf:
        raise invalid_card(path, f"temperature {card.temperature}")
    if not (card.profile is None or isinstance(card.profile, dict)):
        raise invalid_card(path, "a profile that is no object")
    if not isinstance(card.digests, dict):
        raise invalid_card(path, "digests that are no object")
    return card


def invalid_card(path: Path, found: str) -> ModelError:
    """The error for a card that cannot be used."""
    return ModelError(f"{path}: a model card must be the JSON that `train` writes, found {found}: remove it")


def card_path(model: Path) -> Path:
    """Where the card of the model at `model` would stand."""
    stem = model.name.removesuffix(model.suffix) if model.suffix in _SUFFIXES else model.name
    return model.with_name(f"{stem}.card.json")


def find_card(model: Path, digest: str) -> ModelCard | None:
    """The card that speaks for the bytes with this digest, or None."""
    path = card_path(model)
    if not path.is_file():
        return None
    card = read_card(path)
    return card if digest in card.digests.values() else None


def check_kind(model: Path) -> None:
    """Raises ModelError where a model can be neither a file nor a SavedModel's folder; opens nothing.

    A pipe would be waited for, and a large folder digested, before anything else is asked of them.
    """
    if model.is_file() or (model / "saved_model.pb").is_file():
        return
    found = "nothing there"
    if model.exists():
        found = "a folder without saved_model.pb" if model.is_dir() else "neither file nor folder"
    raise ModelError(f"{model}: a model must be {MODEL_FORMS}, found {found}: check the path")


def model_digest(model: Path) -> str:
    """SHA-256, in hex, of a model file; of a SavedModel folder, over the sorted relative paths and contents.

    Raises ModelError where it cannot be read.
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
