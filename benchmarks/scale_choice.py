"""Judges the self-test's choice of a scale on the networks that `benchmarks/networks.py` trained.

    MNIST_BATCH_DATA=... python benchmarks/scale_choice.py --folder build/networks [--part judging]

Prints a Markdown table with a row per kind of network, for docs/models.md, and a line for each network that is settled
wrongly or refused. A network is settled wrongly if, at the scale that the self-test settles on, its error is more than
a tenth higher than at the scale it was trained on, or its expected calibration error is higher by more than 0.01.
Networks for choosing are measured on the training images that none of them was trained on, networks for judging on the
test images.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.networks import SPECS, Spec, read_held_out, read_mnist
from mnist_batch.config import DEFAULT_BATCH_SIZE, Scale
from mnist_batch.errors import ModelError
from mnist_batch.model.loading import load_model
from mnist_batch.model.predictor import TensorFlowPredictor
from mnist_batch.model.scale_choice import MIN_ACCURACY
from mnist_batch.records import Ints, Pixels
from mnist_batch.report.metrics import expected_calibration_error

_MAX_MORE_ERROR, _MAX_MORE_ECE = 1.1, 0.01
_BINS = 15
_KINDS = {
    "dense": ("linear", "dense", "deep", "tanh", "sigmoid"),
    "dense with dropout": ("dropout",),
    "dense with batch normalization": ("dense_bn",),
    "dense, ten sigmoids or logits": ("sigmoids", "logits"),
    "CNN": ("cnn", "lenet"),
    "CNN with dropout": ("cnn_dropout",),
    "CNN with batch normalization": ("cnn_bn",),
    "CNN with augmentation": ("cnn_augmented",),
    "CNN, ten sigmoids": ("cnn_sigmoids",),
    "LSTM": ("lstm",),
}


@dataclass(frozen=True, slots=True)
class Measured:
    """How a network does on real images at one scale. Both 0..1."""

    error: float
    ece: float

    def __str__(self) -> str:
        return f"error {self.error:.4f}, ECE {self.ece:.3f}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a network.

    settled: the scale that the self-test settled on, None if it refused; then `refusal` says why.
    at_right: None if the network is so bad that it is not even scored with --scale.
    at_settled: None for a refused network.
    """

    spec: Spec
    settled: Scale | None
    refusal: str
    at_right: Measured | None
    at_settled: Measured | None

    @property
    def is_usable(self) -> bool:
        """Whether the network is good enough at its own scale that it should be settled."""
        return self.at_right is not None and 1 - self.at_right.error >= MIN_ACCURACY

    @property
    def is_wrong(self) -> bool:
        """Whether the network is settled on a scale at which it does worse than at its own."""
        if self.at_settled is None:
            return False
        if self.at_right is None:
            return True
        return (
            self.at_settled.error > self.at_right.error * _MAX_MORE_ERROR
            or self.at_settled.ece > self.at_right.ece + _MAX_MORE_ECE
        )

    def __str__(self) -> str:
        text = f"{self.spec.name}: {self.at_right or 'not scored'}"
        return (
            f"{text}; refused: {self.refusal}" if self.settled is None else f"{text}; {self.settled}: {self.at_settled}"
        )


def measure(path: Path, scale: Scale | None, images: Pixels, labels: Ints) -> tuple[Scale, Measured]:
    """Scores `images` with the model at a scale, or at the one that it is settled on.

    images: uint8 [n, 28, 28]; labels: the digits, [n]. Returns the scale too. Raises ModelError if it is refused.
    """
    model = load_model(path, scale)
    predictor = TensorFlowPredictor(model, DEFAULT_BATCH_SIZE)
    batches = (images[at : at + DEFAULT_BATCH_SIZE] for at in range(0, len(images), DEFAULT_BATCH_SIZE))
    probabilities = np.concatenate([scores.probabilities for scores in predictor.score(batches)])
    confidence = probabilities.max(axis=1).astype(np.float64)
    is_right = probabilities.argmax(axis=1) == labels
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    sums, correct = (np.bincount(bins, weights=values, minlength=_BINS) for values in (confidence, is_right))
    return model.scale, Measured(
        1 - float(is_right.mean()), float(expected_calibration_error(sums, correct, len(labels)))
    )


def judge(spec: Spec, path: Path, images: Pixels, labels: Ints) -> Outcome:
    """Lets the self-test settle a network, and measures it at both scales."""
    settled, refusal, at_settled, at_right = None, "", None, None
    try:
        settled, at_settled = measure(path, None, images, labels)
    except ModelError as error:
        refusal = str(error).removeprefix(f"{path}: ")
    if settled == spec.scale:
        at_right = at_settled
    else:
        with suppress(ModelError):
            _, at_right = measure(path, Scale(spec.scale), images, labels)
    return Outcome(spec, settled, refusal, at_right, at_settled)


def format_table(outcomes: Sequence[Outcome]) -> str:
    """Returns a Markdown table with a row for each kind of network and one for all."""
    lines = [
        "| networks | number | settled on their own scale | on another, as good | settled wrongly | refused |",
        "|---|---|---|---|---|---|",
    ]
    for kind, forms in _KINDS.items():
        lines.append(_format_row(kind, [outcome for outcome in outcomes if outcome.spec.form in forms]))
    lines.append(_format_row("all", outcomes))
    return "\n".join(lines)


def _format_row(kind: str, outcomes: Iterable[Outcome]) -> str:
    counts = Counter(map(_name_verdict, outcomes))
    verdicts = ("own", "as good", "wrong", "refused")
    return f"| {kind} | {counts.total()} | " + " | ".join(str(counts[verdict]) for verdict in verdicts) + " |"


def _name_verdict(outcome: Outcome) -> str:
    if outcome.settled is None:
        return "refused"
    if outcome.settled == outcome.spec.scale:
        return "own"
    return "wrong" if outcome.is_wrong else "as good"


def main() -> None:
    """Judges the networks of one part."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("build/networks"))
    parser.add_argument("--part", choices=("choosing", "judging"), default="judging")
    given = parser.parse_args()
    images, labels = read_mnist("t10k") if given.part == "judging" else read_held_out()
    outcomes = []
    for spec in SPECS:
        if spec.part == given.part:
            outcomes.append(judge(spec, given.folder / f"{spec.name}.keras", images, labels))
            print(outcomes[-1], flush=True)
    usable = [outcome for outcome in outcomes if outcome.is_usable]
    print(f"\n{format_table(usable)}\n\n{len(outcomes) - len(usable)} more get fewer than {MIN_ACCURACY:.0%} right.\n")
    print(*(outcome for outcome in outcomes if outcome.is_wrong or outcome.settled is None), sep="\n")


if __name__ == "__main__":
    main()
