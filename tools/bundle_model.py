"""Trains the model that ships with the package: `python tools/bundle_model.py --data DIR --output BUNDLED`.

A tool for developers of the package. A bundled model is the SavedModel alone, `NAME/`, with `NAME.card.json` beside it.
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

_HELD_OUT_SHARE = 0.1


def bundle(config: TrainConfig, print_line: PrintLine) -> ModelCard:
    """Trains by `config` and writes the SavedModel and its card into `config.output`, named after the recipe.

    An older model of that name is replaced.
    """
    target = config.output / config.recipe
    with tempfile.TemporaryDirectory() as scratch:
        result = train(replace(config, output=Path(scratch) / "model"), print_line)
        card = replace(result.card, name=config.recipe, digests={config.recipe: result.card.digests[MODEL_NAME]})
        if target.exists():
            rmtree(target)
        copytree(result.output / MODEL_NAME, target)
    card = add_profile(card, config, print_line)
    card.write(card_path(target))
    return card


def add_profile(card: ModelCard, config: TrainConfig, print_line: PrintLine) -> ModelCard:
    """Returns the card of a model that was trained by `config`, with the profile of its training data.

    A model that was trained on all rows has none left to measure its confidence on unseen rows. So the confidences are
    those of a second model with the same recipe and seed, trained with a tenth of the rows held out.
    """
    with tempfile.TemporaryDirectory() as scratch:
        second_config = replace(config, output=Path(scratch) / "model", validation=_HELD_OUT_SHARE)
        profile = train(second_config, print_line).card.profile
    if profile is None:
        raise AssertionError("a training must write a profile")
    confidence_of = (
        "a second model with the same recipe and seed, "
        f"on the {_HELD_OUT_SHARE:.0%} of the training rows that were held out from it"
    )
    return replace(card, profile=replace(profile, confidence_of=confidence_of))


def main() -> None:
    """Runs the command line. An error ends it with a traceback."""
    parser = argparse.ArgumentParser(description="Train a model and add it to those that ship with the package.")
    parser.add_argument("--data", type=Path, required=True, help="folder of the four idx files, or mnist.npz")
    parser.add_argument("--output", type=Path, required=True, help="the folder of bundled models")
    parser.add_argument("--recipe", default="seed", help="the recipe, which is also the name of the model")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same weights")
    parser.add_argument("--profile-only", action="store_true", help="keep the model, and renew its card's profile")
    options = parser.parse_args()
    config = TrainConfig(output=options.output, data=options.data, recipe=options.recipe, seed=options.seed)

    def print_line(line: str) -> None:
        print(line, file=sys.stderr)

    if options.profile_only:
        path = card_path(config.output / config.recipe)
        add_profile(read_card(path), config, print_line).write(path)
    else:
        bundle(config, print_line)


if __name__ == "__main__":
    main()
