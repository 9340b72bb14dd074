"""`score_shard`: the one path from planned rows to a written part, whoever calls it."""

from __future__ import annotations

import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from mnist_batch.config import OutputFormat, PreprocessOptions
from mnist_batch.errors import MnistBatchError
from mnist_batch.output.files import FileRecord
from mnist_batch.output.formats import sink_for
from mnist_batch.output.schema import prediction_table, reject_table
from mnist_batch.output.store import records_to_json, write_part, write_shard_record
from mnist_batch.records import CLASSES, Floats, ImageBatch, Pixels, Predictions, Reject, RejectReason, concat_batches
from mnist_batch.report import tally as tallies
from mnist_batch.report.tally import Tally
from mnist_batch.run.reading import Chunk, Readers
from mnist_batch.shards import Shard
from mnist_batch.sources.label_file import LabelFile
from mnist_batch.sources.protocol import Source, Stamp
from mnist_batch.timing import Stage, total


class Predictor(Protocol):
    """A model that is ready to score.

    batch_splits: how often a batch was halved because the model failed on it; failures: by row, counted over the batches
    of the last call of `probabilities`, what it said when it failed on that row alone.
    """

    @property
    def batch_splits(self) -> int: ...
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
    preprocess_options: PreprocessOptions
    batch_size: int
    format: OutputFormat
    probabilities: bool
    staging: Path
    metadata: Mapping[str, str]

    def readers(self) -> Readers:
        """What reads the job's rows; one for each worker, to be closed."""
        return Readers(self.sources, self.stamps, self.preprocess_options)


@dataclass(frozen=True, slots=True)
class ShardResult:
    """What became of a shard: its rows are all in `tally`, as predictions or as rejects.

    preprocessing: by source, how its images were treated; files: size and SHA-256 of each part by name; batch_splits: how
    often a batch had to be halved; seconds: by stage (docs/architecture.md).
    """

    index: int
    rows: int
    tally: Tally
    preprocessing: Mapping[int, Counter[str]]
    files: Mapping[str, Any]
    batch_splits: int
    seconds: Mapping[str, float]

    def records_to_json(self) -> dict[str, Any]:
        return {
            "index": self.index,
            "rows": self.rows,
            "halvings": self.batch_splits,
            "files": self.files,
            "tally": tallies.as_json(self.tally),
            "treatments": self.preprocessing,
            "seconds": self.seconds,
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any], shard: Shard) -> ShardResult | None:
        """The result of this shard that `records_to_json` wrote; None where it cannot be that."""
        try:
            tally = tallies.from_json(fields["tally"])
            preprocessing = {int(source): Counter(counts) for source, counts in fields["treatments"].items()}
            batch_splits = int(fields["halvings"])
            seconds = {str(stage): float(value) for stage, value in fields["seconds"].items()}
            result = cls(fields["index"], fields["rows"], tally, preprocessing, fields["files"], batch_splits, seconds)
            rows = {result.rows, tally.predicted + tally.rejected}
            parts = {name.partition(".")[0] for name in result.files}
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError):
            return None
        number = f"part-{shard.index:05d}"
        wanted = {f"predictions/{number}", f"rejects/{number}"} if tally.rejected else {f"predictions/{number}"}
        known = preprocessing.keys() <= {span.source for span in shard.spans}
        return result if result.index == shard.index and rows == {shard.rows} and parts == wanted and known else None


@dataclass(frozen=True, slots=True)
class Answer:
    """A chunk's rows and what the model made of them.

    batch: the rows; probabilities: float32 [n, 10], NaN for a row that cannot be scored; failures: by such a row, what
    the model said; batch_splits: how often the batch was halved; waited: seconds until the chunk was read.
    """

    chunk: Chunk
    batch: ImageBatch
    probabilities: Floats
    failures: Mapping[int, str]
    batch_splits: int
    waited: float


def answered(job: ScoringJob, chunks: Iterable[Chunk], predictor: Predictor) -> Generator[Answer]:
    """All chunks with the model's answers, in order, in one pass, so that it need not stop between shards.

    Raises what reading the chunks raises, after all answers to those before.
    """
    # What the predictor has been given, until it answers; chunks without any image among them, which it is not given.
    asked: deque[tuple[Chunk, ImageBatch, float]] = deque()

    def pixels() -> Iterator[Pixels]:
        began = time.perf_counter()
        for chunk in chunks:
            waited = time.perf_counter() - began
            batch = concat_batches([part for _, part in chunk.parts])
            if job.labels is not None:
                batch = replace(batch, labels=job.labels.labels(batch.ids, batch.positions + chunk.first_row))
            asked.append((chunk, batch, waited))
            if len(batch):
                yield batch.pixels
            began = time.perf_counter()

    row, batch_splits = 0, predictor.batch_splits
    for probabilities in predictor.probabilities(pixels()):
        while not len(asked[0][1]):
            yield _unasked(*asked.popleft())
        chunk, batch, waited = asked.popleft()
        failed = () if np.isfinite(probabilities).all() else range(len(batch))
        failures = {i: predictor.failures[row + i] for i in failed if row + i in predictor.failures}
        yield Answer(chunk, batch, probabilities, failures, predictor.batch_splits - batch_splits, waited)
        row, batch_splits = row + len(batch), predictor.batch_splits
    while asked:
        yield _unasked(*asked.popleft())


def _unasked(chunk: Chunk, batch: ImageBatch, waited: float) -> Answer:
    return Answer(chunk, batch, np.zeros((0, CLASSES), np.float32), {}, 0, waited)


def score_shard(
    job: ScoringJob, shard: Shard, answers: Iterator[Answer], readers: Readers, heartbeat: Heartbeat
) -> ShardResult:
    """Takes a shard's answers and writes its part; every row ends as a prediction or as a reject.

    answers: to what `readers` read; those of this shard come next, and no more of them are taken.
    Raises InputError where an input is broken or has changed since it was planned, StorageError where reading or
    writing fails, and whatever `heartbeat` raises.
    """
    gathered = _gathered(job, shard, answers, heartbeat)
    finished = time.perf_counter()
    readers.check_unchanged(shard.spans)
    rows = gathered.rows
    predictions, unscorable = _predictions(rows, gathered.probabilities, gathered.failures)
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
    tally = tallies.merge([gathered.tally, tallies.tally_rejects(placed, shard.first_row)])
    seconds = total([gathered.seconds, {Stage.WRITE: time.perf_counter() - finished}])
    result = ShardResult(
        shard.index, shard.rows, tally, gathered.preprocessing, records_to_json(files), gathered.batch_splits, seconds
    )
    write_shard_record(job.staging, shard.index, result.records_to_json())
    return result


@dataclass(frozen=True, slots=True)
class _Gathered:
    """All answers of a shard. rows: without pixels; seconds: by stage, but for writing; the rest as in `Answer`."""

    rows: ImageBatch
    probabilities: Floats
    failures: Mapping[int, str]
    preprocessing: Mapping[int, Counter[str]]
    tally: Tally
    batch_splits: int
    seconds: Mapping[str, float]


def _gathered(job: ScoringJob, shard: Shard, answers: Iterator[Answer], heartbeat: Heartbeat) -> _Gathered:
    batches: list[ImageBatch] = []
    scored: list[Floats] = []
    failures: dict[int, str] = {}
    preprocessing: defaultdict[int, Counter[str]] = defaultdict(Counter)
    laps: list[Mapping[str, float]] = []
    tally, batch_splits, waited, counted, row = tallies.EMPTY_TALLY, 0, 0.0, 0.0, 0
    started = time.perf_counter()
    for answer in islice(answers, sum(1 for _ in shard.chunks(job.batch_size))):
        began = time.perf_counter()
        for span, part in answer.chunk.parts:
            preprocessing[span.source] += part.preprocessing
        failures |= {row + i: said for i, said in answer.failures.items()}
        tally = tallies.merge([tally, tallies.tally_batch(answer.batch, answer.chunk.first_row, answer.probabilities)])
        # Pixels are not extra_columns: a shard's worth of them is 51 MB.
        batches.append(replace(answer.batch, pixels=_NO_PIXELS))
        scored.append(answer.probabilities)
        laps.append(answer.chunk.seconds)
        batch_splits, waited, row = batch_splits + answer.batch_splits, waited + answer.waited, row + len(answer.batch)
        counted += time.perf_counter() - began
        heartbeat(len(answer.batch))
    waiting = max(0.0, time.perf_counter() - started - waited - counted)
    seconds = total([*laps, {Stage.MODEL: waiting, Stage.COUNT: counted}])
    rows = concat_batches(batches)
    return _Gathered(rows, np.concatenate(scored), failures, preprocessing, tally, batch_splits, seconds)


def _written(job: ScoringJob, index: int, predictions: Predictions, rejects: Sequence[Reject]) -> dict[str, FileRecord]:
    """The parts of a shard, of rejects only where there are any, as they were written."""
    tables = {"predictions": prediction_table(predictions, job.probabilities)}
    if rejects:
        tables["rejects"] = reject_table(rejects)
    sink = sink_for(job.format)
    return dict(write_part(sink, table, job.staging, part, index, job.metadata) for part, table in tables.items())


def _in_input_order(rows: ImageBatch, unscorable: Mapping[int, Reject]) -> list[tuple[int, Reject]]:
    """All rejects by their position: those that never were images, and those on which the model failed."""
    # Where no image stood, there was one of the rejects.
    positions = np.setdiff1d(np.arange(rows.rows), rows.positions).tolist() if rows.rejects else []
    others = zip(positions, rows.rejects, strict=True)
    return sorted([*others, *unscorable.items()], key=lambda placed: placed[0])


_NO_PIXELS: Pixels = np.zeros((0, 28, 28), np.uint8)


def _predictions(
    rows: ImageBatch, probabilities: Floats, failures: Mapping[int, str]
) -> tuple[Predictions, dict[int, Reject]]:
    """The rows' predictions, and as rejects, by their place, the rows for which the model gave no numbers."""
    finite = np.asarray(np.isfinite(probabilities).all(axis=1))
    rejects: dict[int, Reject] = {}
    ids, labels, extra_columns = rows.ids, rows.labels, rows.extra_columns
    if not finite.all():
        rejects = {
            int(rows.positions[i]): Reject(
                ids[i].as_py(), RejectReason.UNSCORABLE, failures.get(int(i), "the model gave no number")
            )
            for i in np.flatnonzero(~finite)
        }
        mask = pa.array(finite)
        ids, labels, extra_columns = (
            ids.filter(mask),
            labels.filter(mask),
            None if extra_columns is None else extra_columns.filter(mask),
        )
        probabilities = probabilities[finite]
    digits = probabilities.argmax(axis=1).astype(np.int32)
    confidence = probabilities.max(axis=1, initial=0)
    return Predictions(ids, labels, digits, confidence, probabilities, extra_columns), rejects
