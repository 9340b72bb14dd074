"""A sample of a run's images, before and after they are brought to MNIST form: for `inspect` and its contact sheet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

from mnist_batch.config import Preparation
from mnist_batch.images.preprocess import gray_images, prepared
from mnist_batch.records import EncodedRows, Pixels, Refusal, Rows
from mnist_batch.run.reading import Readers
from mnist_batch.shards import spread
from mnist_batch.sources.discover import Inputs

# How many images are looked at, and in how many places: a sorted folder begins with all of one digit.
SAMPLE_ROWS, SAMPLE_PLACES = 512, 16


@dataclass(frozen=True, slots=True)
class Sample:
    """One image. before: gray, uint8 [height, width], None where it cannot be decoded; after: uint8 [28, 28], None for
    a reject; verdict: its treatment, or the reason it is rejected for.
    """

    before: Pixels | None
    after: Pixels | None
    verdict: str


def samples(inputs: Inputs, preparation: Preparation) -> list[Sample]:
    """Up to `SAMPLE_ROWS` images, evenly spread over all rows, in order. Raises as `Readers` do."""
    with closing(Readers(inputs.sources, inputs.stamps, preparation)) as readers:
        return [
            sample
            for span in spread(inputs.runs, SAMPLE_ROWS, SAMPLE_PLACES)
            for piece in readers.each(span, lambda rows: list(_samples(rows, preparation)))
            for sample in piece
        ]


def _samples(rows: Rows, preparation: Preparation) -> Iterator[Sample]:
    for row, image in enumerate(gray_images(rows)):
        batch = prepared(EncodedRows(rows.ids.slice(row, 1), rows.labels.slice(row, 1), [image]), preparation)
        before = None if isinstance(image, Refusal) else image
        if batch.rejects:
            yield Sample(before, None, batch.rejects[0].reason)
        else:
            (treatment,) = +batch.treatments
            yield Sample(before, batch.pixels[0], treatment)
