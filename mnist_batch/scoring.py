"""`score_shard`: the one path from planned rows to a written part, whoever calls it."""

from __future__ import annotations

import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from mnist_batch.config import OutputFormat, Preparation
from mnist_batch.errors import MnistBatchError
from mnist_batch.output.files import FileRecord
from mnist_batch.output.formats import sink_for
from mnist_batch.output.store import as_json, write_part, write_shard_record
from mnist_batch.records import CLASSES, Floats, ImageBatch, Pixels, Predictions, Reject, RejectReason, concat_batches
from mnist_batch.report import tally as tallies
from mnist_batch.report.tally import Tally
from mnist_batch.schema import prediction_table, reject_table
from mnist_batch.shards import Shard
from mnist_batch.sources.label_file import LabelFile
from mnist_batch.sources.protocol import Source, Stamp
from mnist_batch.sources.reading import Chunk, Readers
from mnist_batch.stages import Stage, total


class Predictor(Protocol):
    """A model that is ready to score.

    halvings: how often a batch was halved because the model failed on it; failures: by row, counted over the batches
    of the last call of `probabilities`, what it said when it failed on that row alone.
    """

    @property
    def halvings(self) -> int: ...
    @property
    def failures(self) -> Mapping[int, str]: ...

    def probabilities(self, batches: Iterable[Pixels]) -> Iterator[Floats]:
        """For each batch, uint8 [n, 28, 28], n >= 1: float32 [n, 10], in order, NaN for a row that cannot be scored.

        Raises what `batches` raises.
        """
        ...


# Called with the number of rows that were just scored; may raise to stop the run.
Heartbeat = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class ScoringJob:
    """All that a worker needs besides a shard and a predictor; picklable.

    stamps: for each source, the files it reads and what they were when the run was planned; labels: a file that
    overrides the sources' own labels; staging: the folder the parts go to; metadata: what every part says of the run.
    """

    sources: tuple[Source, ...]
    stamps: tuple[Mapping[Path, Stamp], ...]
    labels: LabelFile | None
    preparation: Preparation
    batch_size: int
    format: OutputFormat
    probabilities: bool
    staging: Path
    metadata: Mapping[str, str]

    def readers(self) -> Readers:
        """What reads the job's rows; one for each worker, to be closed."""
        return Readers(self.sources, self.stamps, self.preparation)


@dataclass(frozen=True, slots=True)
class ShardResult:
    """What became of a shard: its rows are all in `tally`, as predictions or as rejects.

    treatments: by source, how its images were treated; files: size and SHA-256 of each part by name; halvings: how
    often a batch had to be halved; seconds: by stage (docs/architecture.md).
    """

    index: int
    rows: int
    tally: Tally
    treatments: Mapping[int, Counter[str]]
    files: Mapping[str, Any]
    halvings: int
    seconds: Mapping[str, float]

    def as_json(self) -> dict[str, Any]:
        return {
            "index": self.index,
            "rows": self.rows,
            "halvings": self.halvings,
            "files": self.files,
            "tally": tallies.as_json(self.tally),
            "treatments": self.treatments,
            "seconds": self.seconds,
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any], shard: Shard) -> ShardResult | None:
        """The result of this shard that `as_json` wrote; None where it cannot be that."""
        try:
            tally = tallies.from_json(fields["tally"])
            treatments = {int(source): Counter(counts) for source, counts in fields["treatments"].items()}
            halvings = int(fields["halvings"])
            seconds = {str(stage): float(value) for stage, value in fields["seconds"].items()}
            result = cls(fields["index"], fields["rows"], tally, treatments, fields["files"], halvings, seconds)
            rows = {result.rows, tally.predicted + tally.rejected}
            parts = {name.partition(".")[0] for name in result.files}
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError):
            return None
        number = f"part-{shard.index:05d}"
        wanted = {f"predictions/{number}", f"rejects/{number}"} if tally.rejected else {f"predictions/{number}"}
        known = treatments.keys() <= {span.source for span in shard.spans}
        return result if result.index == shard.index and rows == {shard.rows} and parts == wanted and known else None


def score_shard(
    job: ScoringJob,
    shard: Shard,
    chunks: Iterator[Chunk],
    readers: Readers,
    predictor: Predictor,
    heartbeat: Heartbeat,
) -> ShardResult:
    """Scores a shard and writes its part; every row ends as a prediction or as a reject.

    chunks: what `readers` read; those of this shard come next, and no more of them are taken.
    Raises InputError where an input is broken or has changed since it was planned, StorageError where reading or
    writing fails, and whatever `heartbeat` raises.
    """
    read: list[ImageBatch] = []
    # Batches that the predictor has been given, with the run's number of their first row, until it answers.
    asked: deque[tuple[ImageBatch, int]] = deque()
    treatments: defaultdict[int, Counter[str]] = defaultdict(Counter)
    halvings = predictor.halvings
    laps, waited, counted = list[Mapping[str, float]](), 0.0, 0.0
    started = time.perf_counter()

    def pixels() -> Iterator[Pixels]:
        nonlocal waited
        row = shard.first_row
        for _ in shard.chunks(job.batch_size):
            began = time.perf_counter()
            chunk = next(chunks)
            waited += time.perf_counter() - began
            laps.append(chunk.seconds)
            for span, part in chunk.parts:
                treatments[span.source] += part.treatments
            batch = concat_batches([part for _, part in chunk.parts])
            if job.labels is not None:
                batch = replace(batch, labels=job.labels.labels(batch.ids, batch.places + row))
            # Pixels are not kept: a shard's worth of them is 51 MB.
            read.append(replace(batch, pixels=_NO_PIXELS))
            if len(batch):
                asked.append((batch, row))
                yield batch.pixels
            row += batch.rows

    scored = [np.zeros((0, CLASSES), np.float32)]
    tally = tallies.NOTHING
    for probabilities in predictor.probabilities(pixels()):
        scored.append(probabilities)
        began = time.perf_counter()
        tally = tallies.merge([tally, tallies.tally_of(*asked.popleft(), probabilities)])
        counted += time.perf_counter() - began
        heartbeat(len(probabilities))
    finished = time.perf_counter()
    laps.append({Stage.MODEL: finished - started - waited - counted})
    readers.check_unchanged(shard.spans)
    rows = concat_batches(read)
    predictions, unscorable = _predictions(rows, np.concatenate(scored), predictor.failures)
    if unscorable and not len(predictions):
        raise MnistBatchError(
            f"shard {shard.index}: the model must score at least one of {len(unscorable)} images, it failed on each "
            f"({next(iter(unscorable.values())).detail}): try another --model or a smaller --batch-size"
        )
    placed = _in_input_order(rows, unscorable)
    rejects = [reject for _, reject in placed]
    if len(predictions) + len(rejects) != shard.rows:
        raise MnistBatchError(
            f"shard {shard.index}: every row must be predicted or rejected, of {shard.rows} rows "
            f"{len(predictions)} were predicted and {len(rejects)} rejected: this is a bug, please report it"
        )
    if rejects:
        heartbeat(len(rejects))
    files = _written(job, shard.index, predictions, rejects)
    tally = tallies.merge([tally, tallies.tally_of_rejects(placed, shard.first_row)])
    laps.append({Stage.WRITE: time.perf_counter() - finished + counted})
    result = ShardResult(
        shard.index, shard.rows, tally, treatments, as_json(files), predictor.halvings - halvings, total(laps)
    )
    write_shard_record(job.staging, shard.index, result.as_json())
    return result


def _written(job: ScoringJob, index: int, predictions: Predictions, rejects: Sequence[Reject]) -> dict[str, FileRecord]:
    """The parts of a shard, of rejects only where there are any, as they were written."""
    tables = {"predictions": prediction_table(predictions, job.probabilities)}
    if rejects:
        tables["rejects"] = reject_table(rejects)
    sink = sink_for(job.format)
    return dict(write_part(sink, table, job.staging, part, index, job.metadata) for part, table in tables.items())


def _in_input_order(rows: ImageBatch, unscorable: Mapping[int, Reject]) -> list[tuple[int, Reject]]:
    """All rejects by their place: those that never were images, and those on which the model failed."""
    # Where no image stood, there was one of the rejects.
    others = zip(np.setdiff1d(np.arange(rows.rows), rows.places).tolist(), rows.rejects, strict=True)
    return sorted([*others, *unscorable.items()], key=lambda placed: placed[0])


_NO_PIXELS: Pixels = np.zeros((0, 28, 28), np.uint8)


def _predictions(
    rows: ImageBatch, probabilities: Floats, failures: Mapping[int, str]
) -> tuple[Predictions, dict[int, Reject]]:
    """The rows' predictions, and as rejects, by their place, the rows for which the model gave no numbers."""
    finite = np.asarray(np.isfinite(probabilities).all(axis=1))
    rejects: dict[int, Reject] = {}
    ids, labels, kept = rows.ids, rows.labels, rows.kept
    if not finite.all():
        rejects = {
            int(rows.places[i]): Reject(
                ids[i].as_py(), RejectReason.UNSCORABLE, failures.get(int(i), "the model gave no number")
            )
            for i in np.flatnonzero(~finite)
        }
        mask = pa.array(finite)
        ids, labels, kept = ids.filter(mask), labels.filter(mask), None if kept is None else kept.filter(mask)
        probabilities = probabilities[finite]
    digits = probabilities.argmax(axis=1).astype(np.int32)
    confidence = probabilities.max(axis=1, initial=0)
    return Predictions(ids, labels, digits, confidence, probabilities, kept), rejects
