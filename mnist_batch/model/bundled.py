"""The models that ship with the package, and the lookup of a model by name or path.

A bundled model is a SavedModel folder `bundled/NAME` with its card `NAME.card.json` beside it.
This module imports no TensorFlow, so that `mnist-batch models` answers at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mnist_batch.errors import ModelError
from mnist_batch.model.card import ModelCard, card_path, check_model_path, read_card

BUNDLED = Path(__file__).with_name("bundled")


@dataclass(frozen=True, slots=True)
class BundledModel:
    """A model that ships with the package.

    size: bytes on disk of all files of the model together, without the card.
    """

    name: str
    path: Path
    size: int
    card: ModelCard


def list_bundled() -> list[BundledModel]:
    """Returns the bundled models, sorted by name. Raises ModelError if a card cannot be read."""
    models = []
    for name in _list_names():
        path = BUNDLED / name
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        models.append(BundledModel(name, path, size, read_card(card_path(path))))
    return models


def resolve_model(name: str) -> Path:
    """Returns the path of a model: the bundled model called `name` if there is one, otherwise `name` as a path.

    A file in the working directory with the name of a bundled model can be given as `./NAME`.
    Raises ModelError if there is neither, or if the path cannot be a model.
    """
    if name in _list_names():
        return BUNDLED / name
    path = Path(name)
    if not name or not path.exists():
        raise ModelError(
            f"{name}: a model must be a bundled one ({', '.join(_list_names())}) or an existing path, found neither: "
            "check the spelling"
        )
    check_model_path(path)
    return path


def _list_names() -> list[str]:
    return sorted(path.name for path in BUNDLED.glob("*/") if card_path(path).is_file())
