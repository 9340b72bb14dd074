from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import mnist_batch
from mnist_batch.config import Scale
from mnist_batch.errors import UsageError
from mnist_batch.training.recipes import find_recipe


def test_seed_recipe_is_the_course_scripts() -> None:
    recipe = find_recipe("seed")
    model, optimizer = recipe.architecture(), recipe.optimizer()
    assert [layer.units for layer in model.layers] == [512, 512, 10]
    assert [layer.activation.__name__ for layer in model.layers] == ["relu", "relu", "softmax"]
    assert model.input_shape == (None, 784)
    assert type(optimizer).__name__ == "RMSprop"
    assert float(optimizer.learning_rate) == pytest.approx(0.001)
    assert (recipe.epochs, recipe.batch_size, recipe.scale) == (10, 256, Scale.UNIT)


def test_unknown_recipe_lists_the_names() -> None:
    with pytest.raises(UsageError, match="one of seed, got sede"):
        find_recipe("sede")


def test_find_recipe_imports_no_tensorflow() -> None:
    code = (
        "import sys; from mnist_batch.training.recipes import find_recipe; find_recipe('seed');"
        "sys.exit(bool({'tensorflow', 'keras'} & sys.modules.keys()))"
    )
    root = Path(mnist_batch.__file__).parents[1]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
