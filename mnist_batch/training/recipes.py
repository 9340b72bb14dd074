"""The recipes by name: which network, optimizer and schedule make a model.

Only what is the same for every run of a recipe; seed, data and validation are `TrainConfig`'s. It imports no Keras
until a recipe is cooked, so that the command line can list and check names at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mnist_batch.config import ValueRange
from mnist_batch.errors import UsageError
from mnist_batch.training.architectures import build_mlp_512

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True, slots=True)
class Recipe:
    """One way to train. architecture, optimizer: build a new one at each call; scale: what the network reads."""

    name: str
    architecture: Callable[[], keras.Model]
    optimizer: Callable[[], keras.optimizers.Optimizer]
    epochs: int
    batch_size: int
    scale: ValueRange = ValueRange.UNIT


def make_rmsprop() -> keras.optimizers.Optimizer:
    """RMSprop at Keras's default rate, 0.001."""
    import keras

    return keras.optimizers.RMSprop(learning_rate=0.001)


RECIPES = {
    recipe.name: recipe
    for recipe in [
        Recipe("seed", architecture=build_mlp_512, optimizer=make_rmsprop, epochs=10, batch_size=256),
    ]
}


def find_recipe(name: str) -> Recipe:
    """The recipe of that name. Raises UsageError, listing the names, where there is none."""
    if name not in RECIPES:
        raise UsageError(f"--recipe must be one of {', '.join(RECIPES)}, got {name}: choose of these")
    return RECIPES[name]
