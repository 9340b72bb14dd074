"""What was done to the images before they were scored, for the report; and what of it a person should look at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from mnist_batch.records import Preprocessing

# More than this share brought to form by force: perhaps what the source holds is not what somebody thinks it holds.
_MANY = 0.25
# Less than this share of its images does not make a source mixed.
_FEW = 0.01
# A warning is a line, not a list.
_NAMED_SOURCES = 3


def preprocessing_warnings(preprocessing: Mapping[str, Counter[str]]) -> list[str]:
    """A line on the sources whose images were treated in several ways, or of which many had to be brought to form.

    preprocessing: by name of source, images by `Preprocessing`.
    """
    told = [line for name, counts in preprocessing.items() if (line := _describe_source(name, counts)) is not None]
    more = len(told) - _NAMED_SOURCES
    return [*told[:_NAMED_SOURCES], *([f"{more} more inputs of the same kind"] if more > 0 else [])]


def _describe_source(name: str, counts: Counter[str]) -> str | None:
    total = counts.total()
    forced = total - counts[Preprocessing.AS_IS]
    mixed = sum(counts[treatment] > _FEW * total for treatment in Preprocessing) > 1
    if not total or not (mixed or forced > _MANY * total):
        return None
    inverted = counts[Preprocessing.INVERTED]
    ink = "" if not inverted else f", {'all' if inverted == forced else f'{inverted:,}'} of them with dark ink"
    return (
        f"{name or 'image files'}: {forced:,} of {total:,} images were not in MNIST form and were brought to it{ink}: "
        "look at them with `mnist-batch inspect --sheet`"
    )
