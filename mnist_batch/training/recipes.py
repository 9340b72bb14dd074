"""The recipes by name: the network, optimizer and schedule that make a model.

A recipe holds only what is the same for all of its trainings; seed, data and validation are in `TrainConfig`. Keras is
imported when a recipe builds its model or optimizer, so that the command line can list and check names at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mnist_batch.config import Scale
from mnist_batch.errors import UsageError
from mnist_batch.training.architectures import build_mlp_512

if TYPE_CHECKING:
    from mnist_batch.model.backend import keras


@dataclass(frozen=True, slots=True)
class Recipe:
    """One way to train.

    architecture, optimizer: return a new one at each call.
    scale: the pixel values that the network takes.
    """

    name: str
    architecture: Callable[[], keras.Model]
    optimizer: Callable[[], keras.optimizers.Optimizer]
    epochs: int
    batch_size: int
    scale: Scale = Scale.UNIT


def make_rmsprop() -> keras.optimizers.Optimizer:
    """Returns RMSprop with Keras's default learning rate, 0.001."""
    from mnist_batch.model.backend import keras

    return keras.optimizers.RMSprop(learning_rate=0.001)


RECIPES = {
    recipe.name: recipe
    for recipe in [
        Recipe("seed", architecture=build_mlp_512, optimizer=make_rmsprop, epochs=10, batch_size=256),
    ]
}


def find_recipe(name: str) -> Recipe:
    """Returns the recipe called `name`. Raises UsageError, which lists the names, if there is none."""
    if name not in RECIPES:
        raise UsageError(f"--recipe must be one of {', '.join(RECIPES)}, got {name}: choose one of these")
    return RECIPES[name]
