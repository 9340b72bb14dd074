"""The profile of a model's training data: the reference for drift. It is a part of the model card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from mnist_batch.documents import Count


@dataclass(frozen=True, slots=True)
class Bins:
    """The rows in each of about ten bins. edges: the lower edge of each bin."""

    edges: Annotated[Sequence[int | float], Meta(min_length=2)]
    counts: Annotated[Sequence[Count], Meta(min_length=2)]


@dataclass(frozen=True, slots=True)
class Profile:
    """The distribution of each feature that `report.drift` compares.

    rows: the rows that the model was trained on.
    digits, ink, stroke, width, height: of those rows.
    confidence: of the rows that `confidence_of` describes; None if it was not measured.
    """

    rows: Annotated[int, Meta(ge=1)]
    digits: Bins
    ink: Bins
    stroke: Bins
    width: Bins
    height: Bins
    confidence: Bins | None
    confidence_of: str | None
