"""A sample of a run's images, before and after they are brought to MNIST form: for `inspect` and its contact sheet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

from mnist_batch.config import PreprocessOptions
from mnist_batch.images.preprocess import decode_to_gray, preprocess
from mnist_batch.records import EncodedRows, ImageError, Pixels, Rows
from mnist_batch.run.reading import Readers
from mnist_batch.shards import spread_sample
from mnist_batch.sources.discover import Inputs

# How many images are looked at, and in how many positions: a sorted folder begins with all of one digit.
SAMPLE_ROWS, SAMPLE_POSITIONS = 512, 16


@dataclass(frozen=True, slots=True)
class Sample:
    """One image. before: gray, uint8 [height, width], None where it cannot be decoded; after: uint8 [28, 28], None for
    a reject; verdict: its treatment, or the reason it is rejected for.
    """

    before: Pixels | None
    after: Pixels | None
    verdict: str


def sample_images(inputs: Inputs, preprocess_options: PreprocessOptions) -> list[Sample]:
    """Up to `SAMPLE_ROWS` images, evenly spread over all rows, in order. Raises as `Readers` do."""
    with closing(Readers(inputs.sources, inputs.stamps, preprocess_options)) as readers:
        return [
            sample
            for span in spread_sample(inputs.runs, SAMPLE_ROWS, SAMPLE_POSITIONS)
            for piece in readers.each(span, lambda rows: list(_preprocess_one_by_one(rows, preprocess_options)))
            for sample in piece
        ]


def _preprocess_one_by_one(rows: Rows, preprocess_options: PreprocessOptions) -> Iterator[Sample]:
    for row, image in enumerate(decode_to_gray(rows)):
        batch = preprocess(EncodedRows(rows.ids.slice(row, 1), rows.labels.slice(row, 1), [image]), preprocess_options)
        before = None if isinstance(image, ImageError) else image
        if batch.rejects:
            yield Sample(before, None, batch.rejects[0].reason)
        else:
            (treatment,) = +batch.preprocessing
            yield Sample(before, batch.pixels[0], treatment)
