"""Makes the model that ships with the package: `python tools/bundle_model.py --data DIR --output BUNDLED`.

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
from mnist_batch.model.card import ModelCard, card_path, read_card
from mnist_batch.training.fit import PrintLine, train
from mnist_batch.training.saving import MODEL_NAME

_SIBLING_VALIDATION = 0.1


def bundle(config: TrainConfig, say: PrintLine) -> ModelCard:
    """Trains by `config` and puts the SavedModel into `config.output` under the recipe's name, over an older one."""
    target = config.output / config.recipe
    with tempfile.TemporaryDirectory() as scratch:
        result = train(replace(config, output=Path(scratch) / "model"), say)
        card = replace(result.card, name=config.recipe, digests={config.recipe: result.card.digests[MODEL_NAME]})
        if target.exists():
            rmtree(target)
        copytree(result.output / MODEL_NAME, target)
    card = with_profile(card, config, say)
    card.write(card_path(target))
    return card


def with_profile(card: ModelCard, config: TrainConfig, say: PrintLine) -> ModelCard:
    """The card of a model that was trained by `config`, with the profile of its data.

    A model trained on all rows has none left to show how confident it is on rows it does not know. A sibling of the
    same recipe and seed, with a tenth held out, shows it in its stead.
    """
    with tempfile.TemporaryDirectory() as scratch:
        sibling = replace(config, output=Path(scratch) / "model", validation=_SIBLING_VALIDATION)
        profile = dict(train(sibling, say).card.profile or {})
    profile["confidence_of"] = f"a sibling of this model, on the share of {_SIBLING_VALIDATION:g} it was not trained on"
    return replace(card, profile=profile)


def main() -> None:
    """The command line; an error ends it with a traceback."""
    parser = argparse.ArgumentParser(description="Train a model and put it among those that ship with the package.")
    parser.add_argument("--data", type=Path, required=True, help="folder of the four idx files, or mnist.npz")
    parser.add_argument("--output", type=Path, required=True, help="the folder of bundled models")
    parser.add_argument("--recipe", default="seed", help="the recipe, which names the model too")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same weights")
    parser.add_argument("--profile-only", action="store_true", help="keep the model, write its card's profile anew")
    options = parser.parse_args()
    config = TrainConfig(output=options.output, data=options.data, recipe=options.recipe, seed=options.seed)

    def say(line: str) -> None:
        print(line, file=sys.stderr)

    if options.profile_only:
        path = card_path(config.output / config.recipe)
        with_profile(read_card(path), config, say).write(path)
    else:
        bundle(config, say)


if __name__ == "__main__":
    main()
