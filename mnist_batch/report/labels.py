"""A warning about labels that are probably not those of the images."""

from __future__ import annotations

from collections.abc import Sequence

from mnist_batch.report.tally import UNIT, Tally

_MIN_ROWS = 100
_MIN_CONFIDENCE = 0.9
# Ten classes: twice the accuracy of chance. A model that is right so rarely is not confident on digits that it knows.
_MAX_ACCURACY = 0.2


def label_warnings(tally: Tally) -> Sequence[str]:
    """Returns one line if accuracy is near chance although the model is confident."""
    if tally.labelled < _MIN_ROWS:
        return []
    accuracy = tally.correct / tally.labelled
    confidence = int(tally.labelled_confidence_sum.sum()) / UNIT / tally.labelled
    if accuracy > _MAX_ACCURACY or confidence < _MIN_CONFIDENCE:
        return []
    return [
        f"accuracy is {accuracy:.0%} on {tally.labelled:,} labelled rows, near chance, but mean confidence is "
        f"{confidence:.2f}: the labels are probably not those of these images"
    ]
