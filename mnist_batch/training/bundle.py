"""Makes the model that ships with the package: `python -m mnist_batch.training.bundle --data DIR --output BUNDLED`.

For those who work on the package. A bundled model is the SavedModel alone, `NAME/`, with `NAME.card.json` beside it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from shutil import copytree, rmtree

from mnist_batch.config import TrainConfig
from mnist_batch.model.card import ModelCard, card_path
from mnist_batch.training.fit import Say, train
from mnist_batch.training.saving import MODEL_NAME


def bundle(config: TrainConfig, say: Say) -> ModelCard:
    """Trains by `config` and puts the SavedModel into `config.output` under the recipe's name, over an older one."""
    target = config.output / config.recipe
    with tempfile.TemporaryDirectory() as scratch:
        result = train(replace(config, output=Path(scratch) / "model"), say)
        card = replace(result.card, name=config.recipe, digests={config.recipe: result.card.digests[MODEL_NAME]})
        if target.exists():
            rmtree(target)
        copytree(result.output / MODEL_NAME, target)
    card.write(card_path(target))
    return card


def main() -> None:
    """The command line; an error ends it with a traceback."""
    parser = argparse.ArgumentParser(description="Train a model and put it among those that ship with the package.")
    parser.add_argument("--data", type=Path, required=True, help="folder of the four idx files, or mnist.npz")
    parser.add_argument("--output", type=Path, required=True, help="the folder of bundled models")
    parser.add_argument("--recipe", default="seed", help="the recipe, which names the model too")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same weights")
    options = parser.parse_args()
    config = TrainConfig(output=options.output, data=options.data, recipe=options.recipe, seed=options.seed)
    bundle(config, lambda line: print(line, file=sys.stderr))


if __name__ == "__main__":
    main()
