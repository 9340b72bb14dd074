"""The models that ship with the package, and how a name on the command line becomes a path.

A bundled model is a SavedModel folder `bundled/NAME` with its card `NAME.card.json` beside it.
It imports no TensorFlow, so that `mnist-batch models` answers at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mnist_batch.errors import ModelError
from mnist_batch.model.card import ModelCard, card_path, check_kind, read_card

BUNDLED = Path(__file__).with_name("bundled")


@dataclass(frozen=True, slots=True)
class BundledModel:
    """One line of `mnist-batch models`. size: bytes on disk, all files of the model together, without the card."""

    name: str
    path: Path
    size: int
    card: ModelCard


def list_bundled() -> list[BundledModel]:
    """Every bundled model, by name. Raises ModelError where a card cannot be read."""
    return [_describe(name) for name in _list_names()]


def resolve_model(name: str) -> Path:
    """Where the model called `name` lies: a bundled one by its exact name, otherwise the path itself.

    A file in the working directory that happens to be called like a bundled model is reached as `./NAME`.
    Raises ModelError where there is neither, or where what is there can be no model.
    """
    if name in _list_names():
        return BUNDLED / name
    path = Path(name)
    if not name or not path.exists():
        raise ModelError(
            f"{name}: a model must be a bundled one ({', '.join(_list_names())}) or an existing path, found neither: "
            "check the spelling"
        )
    check_kind(path)
    return path


def _list_names() -> list[str]:
    return sorted(path.name for path in BUNDLED.glob("*/") if card_path(path).is_file())


def _describe(name: str) -> BundledModel:
    path = BUNDLED / name
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return BundledModel(name, path, size, read_card(card_path(path)))
