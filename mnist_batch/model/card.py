"""The model card: what is known about a model beyond its weights, as JSON beside them.

A card `NAME.card.json` describes `NAME.h5`, `NAME.keras` and the SavedModel folder `NAME`. It applies only to the exact
bytes whose digests it lists, so that a file overwritten by a newly trained model has no card, rather than a wrong one.
This module imports no TensorFlow.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from mnist_batch.config import Scale
from mnist_batch.documents import (
    Count,
    DocumentError,
    Share,
    check_keys,
    parse_document,
    parse_json,
    read_version,
    to_json,
)
from mnist_batch.errors import ModelError
from mnist_batch.profile import Profile
from mnist_batch.regular_files import open_regular

# Rises with each new key. A card of a later version is read as far as its keys are known.
CARD_VERSION = 1
_SUFFIXES = (".keras", ".h5", ".hdf5")
# For error messages.
ACCEPTED_FORMATS = "a .keras or .h5 file, or a SavedModel folder"


class OutputKind(StrEnum):
    """What a model's ten outputs are. SIGMOIDS: each in 0..1, with any sum."""

    PROBABILITIES = "probabilities"
    SIGMOIDS = "sigmoids"
    LOGITS = "logits"


@dataclass(frozen=True, slots=True)
class Training:
    """How a model was trained.

    seed: None for a different model each time.
    kept_epoch: the epoch whose weights were saved, from 1.
    rows: rows that it was trained on; `validation_rows` more were held out, a share of `validation`.
    validation_by: "writer" if no writer is in both, "row" otherwise; None if nothing was held out.
    """

    recipe: str
    seed: int | None
    epochs: Count
    kept_epoch: Count
    batch_size: Count
    rows: Count
    validation: Share
    validation_rows: Count
    validation_by: str | None
    tensorflow: str
    keras: str
    numpy: str


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What a model takes and returns, how good it is, and how that was measured.

    scale: the pixel values of black and white that the model was trained on.
    temperature: divides the logits before the softmax; 1 if no calibration was fitted (Guo et al. 2017).
    digests: SHA-256 of each format the model was saved in, by file name.
    accuracy, ece, nll: measured on the `evaluated_rows` rows of `evaluated_on`, which no choice was based on.
    training: None if it is not known.
    profile: the reference for drift, as `report.drift.build_profile` makes it. None if there is none.
    """

    card_version: Annotated[int, Meta(ge=1)] = field(default=1, kw_only=True)
    name: str
    scale: Scale
    output: OutputKind
    temperature: Annotated[float, Meta(gt=0)]
    digests: dict[str, str]
    accuracy: float
    ece: float
    nll: float
    evaluated_on: str
    evaluated_rows: Count
    training: Training | None = None
    profile: Profile | None = None

    def write(self, path: Path) -> None:
        path.write_text(to_json(self), encoding="utf-8")


def read_card(path: Path) -> ModelCard:
    """Reads the card in `path`. Raises ModelError if it cannot be read or is not a card."""
    try:
        with open_regular(path) as file:
            content = parse_json(file.read())
        card = parse_document(content, ModelCard)
        if read_version(content, "card_version") <= CARD_VERSION:
            check_keys(content, card)
        if not math.isfinite(card.temperature):
            raise DocumentError(f"temperature {card.temperature}")
    except OSError as error:
        raise invalid_card(path, error.strerror or str(error)) from error
    except DocumentError as error:
        raise invalid_card(path, str(error)) from error
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
        for path in sorted(p for p in model.rglob("*") if p.exists() and not p.is_dir()):
            total.update(f"{path.relative_to(model).as_posix()}\0{_file_digest(path)}\n".encode())
        return total.hexdigest()
    except OSError as error:
        raise unreadable_model(model, error) from error


def unreadable_model(model: Path, error: OSError) -> ModelError:
    """The error for a model that cannot be read."""
    cause = (error.strerror or str(error)).lower()
    return ModelError(f"{model}: a model must be readable, found {cause}: check the path")


def _file_digest(path: Path) -> str:
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
