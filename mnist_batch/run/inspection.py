"""`mnist-batch inspect`: what a run would read, and what preprocessing does to a sample of it. Loads no model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pyarrow.compute as pc

from mnist_batch.config import PreprocessOptions, ReadOptions
from mnist_batch.images.preprocess import decode_to_gray, preprocess
from mnist_batch.names import printable
from mnist_batch.records import EncodedRows, ImageError, Pixels, Preprocessing, Rows
from mnist_batch.run.reading import Readers
from mnist_batch.shards import cut_shards, spread_sample
from mnist_batch.sources.discover import Inputs, open_inputs
from mnist_batch.sources.label_file import LabelsById, open_label_file


@dataclass(frozen=True, slots=True)
class Sample:
    """One sampled image.

    before: gray, uint8 [height, width]; None if it cannot be decoded.
    after: uint8 [28, 28]; None for a reject.
    verdict: what preprocessing did, or the reason of the reject.
    """

    before: Pixels | None
    after: Pixels | None
    verdict: str


@dataclass(frozen=True, slots=True)
class SourceSummary:
    """One source of the input."""

    format: str
    name: str
    rows: int
    labelled: bool


@dataclass(frozen=True, slots=True)
class SampleSummary:
    """What preprocessing did to the sampled images. rejected: by reason."""

    mode: str
    sampled: int
    as_is: int
    inverted: int
    framed: int
    rejected: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class InspectionSummary:
    """The object that `inspect --json` prints."""

    root: str
    rows: int
    labelled: bool
    shards: int
    rows_per_part: int
    sources: Sequence[SourceSummary]
    skipped: Mapping[str, int]
    preprocessing: SampleSummary
    warnings: Sequence[str]


@dataclass(frozen=True, slots=True)
class Inspection:
    """What `inspect` found.

    label_file: whether the labels come from a label file.
    shards: number of shards.
    mode: how images are preprocessed, `config.Preprocess`.
    warnings: about the inputs and the label file, one line each.
    """

    inputs: Inputs
    label_file: bool
    shards: int
    rows_per_part: int
    mode: str
    samples: Sequence[Sample]
    warnings: Sequence[str]

    def summarize(self) -> InspectionSummary:
        counts = Counter(sample.verdict for sample in self.samples)
        return InspectionSummary(
            root=printable(self.inputs.root),
            rows=self.inputs.rows,
            labelled=self.label_file or self.inputs.labelled,
            shards=self.shards,
            rows_per_part=self.rows_per_part,
            sources=[
                SourceSummary(
                    format=source.format,
                    name=source.name or ".",
                    rows=source.rows,
                    labelled=self.label_file or source.labelled,
                )
                for source in self.inputs.sources
            ],
            skipped=dict(self.inputs.skipped),
            preprocessing=SampleSummary(
                mode=self.mode,
                sampled=len(self.samples),
                as_is=counts[Preprocessing.AS_IS],
                inverted=counts[Preprocessing.INVERTED],
                framed=counts[Preprocessing.FRAMED],
                rejected={
                    verdict: count for verdict, count in sorted(counts.items()) if verdict not in list(Preprocessing)
                },
            ),
            warnings=self.warnings,
        )


def inspect_inputs(paths: Sequence[str], reading: ReadOptions, rows_per_part: int) -> Inspection:
    """Opens the inputs as `predict` would, and preprocesses a sample of their images.

    Raises MnistBatchError for the inputs, labels and options that `predict` rejects.
    """
    inputs = open_inputs(tuple(paths), reading)
    warnings = [*inputs.warnings]
    if label_file := isinstance(reading.labels, Path):
        labels, _ = open_label_file(reading.labels, inputs.rows, inputs.numbered, inputs.list_names)
        if isinstance(labels, LabelsById):
            warnings += _warn_of_unmatched(labels, inputs, reading.labels)
    shards = sum(1 for _ in cut_shards(inputs.spans, rows_per_part))
    options = reading.preprocess_options
    samples = sample_images(inputs, options)
    return Inspection(inputs, label_file, shards, rows_per_part, options.preprocess, samples, warnings)


def _warn_of_unmatched(labels: LabelsById, inputs: Inputs, path: Path) -> list[str]:
    """One line if a label table does not have the ids of all rows. Ids of rows that are numbered are not compared."""
    names = inputs.list_names()
    labelled = pc.sum(pc.is_in(names, labels.ids)).as_py() or 0
    if len(names) < inputs.rows or labelled == len(names):
        return []
    return [
        f"{path}: {labelled:,} of its {len(labels.ids):,} ids are ids of rows, and {len(names) - labelled:,} of "
        f"{len(names):,} rows have no label"
    ]


def sample_images(inputs: Inputs, preprocess_options: PreprocessOptions) -> list[Sample]:
    """Preprocesses a sample of the images, evenly spread over all rows. Raises as `Readers.read` does."""
    with closing(Readers(inputs.sources, inputs.stamps, preprocess_options)) as readers:
        return [
            sample
            for span in spread_sample(inputs.spans)
            for piece in readers.map_pieces(span, lambda rows: list(_preprocess_one_by_one(rows, preprocess_options)))
            for sample in piece
        ]


def _preprocess_one_by_one(rows: Rows, preprocess_options: PreprocessOptions) -> Iterator[Sample]:
    for row, image in enumerate(decode_to_gray(rows)):
        batch = preprocess(EncodedRows(rows.ids.slice(row, 1), rows.labels.slice(row, 1), [image]), preprocess_options)
        before = None if isinstance(image, ImageError) else image
        if batch.rejects:
            yield Sample(before, None, batch.rejects[0].reason)
        else:
            (kind,) = +batch.preprocessing
            yield Sample(before, batch.pixels[0], kind)
