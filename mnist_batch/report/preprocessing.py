"""Warnings about images that were not scored as they are: converted to MNIST form, or the first frame of several."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from mnist_batch.records import Preprocessing
from mnist_batch.report.tally import Tally

# If more than this share of an input's images had to be converted, it is probably the wrong input.
_MAX_CONVERTED_SHARE = 0.25
# A treatment of at most this share of an input's images does not make the input mixed.
_MIN_TREATMENT_SHARE = 0.01
# A warning names at most this many inputs and counts the others.
_MAX_NAMED_SOURCES = 3


def animation_warnings(tally: Tally) -> list[str]:
    """Returns one line if images have several frames."""
    if not (count := int(tally.animations)):
        return []
    return [
        f"images with several frames (animations): {count:,}, of each only the first frame was scored: "
        "save the others as files"
    ]


def preprocessing_warnings(preprocessing: Mapping[str, Counter[str]]) -> list[str]:
    """Returns one line for each source whose images were treated in several ways or often had to be converted.

    preprocessing: the number of images by `Preprocessing`, by name of source.
    """
    lines = [line for name, counts in preprocessing.items() if (line := _describe_source(name, counts)) is not None]
    more = len(lines) - _MAX_NAMED_SOURCES
    return [*lines[:_MAX_NAMED_SOURCES], *([f"{more} more inputs of the same kind"] if more > 0 else [])]


def _describe_source(name: str, counts: Counter[str]) -> str | None:
    """The warning about a source, or None if it needs none."""
    total = counts.total()
    converted = total - counts[Preprocessing.AS_IS]
    mixed = sum(counts[treatment] > _MIN_TREATMENT_SHARE * total for treatment in Preprocessing) > 1
    if not total or not (mixed or converted > _MAX_CONVERTED_SHARE * total):
        return None
    inverted = counts[Preprocessing.INVERTED]
    ink = "" if not inverted else f", {'all' if inverted == converted else f'{inverted:,}'} of them with dark ink"
    return (
        f"{name or 'image files'}: {converted:,} of {total:,} images were not in MNIST form and were converted to it"
        f"{ink}: look at them with `mnist-batch inspect --sheet`"
    )
