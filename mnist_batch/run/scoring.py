"""`score_shards`: the only path from planned rows to written parts, whichever engine calls it."""

from __future__ import annotations

import time
from collections import Counter, defaultdict, deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pyarrow as pa

from mnist_batch.config import OutputFormat, PreprocessOptions, Scale
from mnist_batch.errors import ModelError
from mnist_batch.model.card import ModelCard
from mnist_batch.output.environment import read_environment
from mnist_batch.output.fingerprint import CardFacts
from mnist_batch.output.formats import sink_for
from mnist_batch.output.schema import prediction_table, reject_table
from mnist_batch.output.store import write_part, write_shard_record
from mnist_batch.records import (
    ImageBatch,
    Pixels,
    Predictions,
    Reject,
    RejectReason,
    Scores,
    concat_batches,
    concat_scores,
    unscored,
)
from mnist_batch.report import tally as tallies
from mnist_batch.report.tally import Tally
from mnist_batch.run.reading import Chunk, ReadAhead, Readers
from mnist_batch.run.shard_result import RunTally, ShardResult, encode_result
from mnist_batch.shards import Shard
from mnist_batch.sources.label_file import LabelFile
from mnist_batch.sources.protocol import Source, Stamp
from mnist_batch.timing import RowsCallback, Stage, StopCheck, add_laps

if TYPE_CHECKING:
    from mnist_batch.model.loading import LoadedModel
    from mnist_batch.model.predictor import TensorFlowPredictor

_NO_PIXELS: Pixels = np.zeros((0, 28, 28), np.uint8)
# After this many chunks of nothing but rejects, the model is given a blank image, because it returns only what it was
# given. Otherwise rejects would pile up until an image comes.
_MAX_CHUNKS_WITHOUT_IMAGES = 4
_BLANK: Pixels = np.zeros((1, 28, 28), np.uint8)


class Predictor(Protocol):
    """A model that is ready to score. `tests/run/test_predictor_contract.py` checks each implementation.

    batch_splits: how many times a batch was split in two because the model failed on it.
    failures: the model's error message for each row on which it failed alone. Rows are counted over the batches of the
    last call of `score`.
    """

    @property
    def batch_splits(self) -> int: ...
    @property
    def failures(self) -> Mapping[int, str]: ...

    def score(self, batches: Iterable[Pixels]) -> Iterator[Scores]:
        """Scores batches of uint8 [n, 28, 28], n >= 1, in order.

        Yields the scores of each; rows that cannot be scored are NaN. Raises what `batches` raises.
        """
        ...


@dataclass(frozen=True, slots=True)
class ModelReference:
    """Names a model, so that any worker can load it.

    digest: SHA-256, as `model.card.model_digest` returns it.
    card: what its card says, None without one.
    scale: the value of `--scale`, None without one.
    """

    path: Path
    digest: str
    card: CardFacts | None
    scale: Scale | None


@dataclass(frozen=True, slots=True)
class ScoringJob:
    """Everything a worker needs besides shards. Picklable.

    stamps: for each source, its files with their size and time of change when the run was planned.
    labels: a label file that overrides the labels of the sources.
    staging: the folder that parts are written to.
    metadata: written into every part.
    """

    sources: tuple[Source, ...]
    stamps: tuple[Mapping[Path, Stamp], ...]
    labels: LabelFile | None
    preprocess_options: PreprocessOptions
    model: ModelReference
    batch_size: int
    format: OutputFormat
    probabilities: bool
    staging: Path
    metadata: Mapping[str, str]

    def readers(self) -> Readers:
        """Opens the readers of one worker. The caller closes them."""
        return Readers(self.sources, self.stamps, self.preprocess_options)


def load_predictor(job: ScoringJob) -> TensorFlowPredictor:
    """Loads the job's model into this process. Raises ModelError if it is unusable, or is no longer the planned one."""
    from mnist_batch.model.loading import load_model
    from mnist_batch.model.predictor import TensorFlowPredictor

    model = load_model(job.model.path, job.model.scale)
    if model.digest != job.model.digest or read_card_facts(model.card) != job.model.card:
        raise ModelError(f"{job.model.path}: must not change while a run starts, but it did: start again")
    return TensorFlowPredictor(model, job.batch_size)


def read_card_facts(card: ModelCard | None) -> CardFacts | None:
    """What of a model card changes the output."""
    return None if card is None else CardFacts(card.scale, card.output, card.temperature)


@dataclass(frozen=True, slots=True)
class ScoredShards:
    """All shards of a run.

    run_tally: the merged results of all shards.
    resumed: number of shards that an earlier start had finished.
    rows: number of rows that this start scored.
    seconds: the time from the loaded model to the last shard.
    warnings: what the model found odd about the images, one line each.
    """

    run_tally: RunTally
    resumed: int
    rows: int
    model: LoadedModel
    seconds: float
    warnings: Sequence[str]


@dataclass(frozen=True, slots=True)
class ScoredChunk:
    """A chunk with its scores.

    batch: the rows of the chunk.
    failures: the model's error message for each row on which it failed.
    batch_splits: how many times the batch was split in two.
    waited: seconds spent waiting for the chunk to be read.
    """

    chunk: Chunk
    batch: ImageBatch
    scores: Scores
    failures: Mapping[int, str]
    batch_splits: int
    waited: float


def score_chunks(job: ScoringJob, chunks: Iterable[Chunk], predictor: Predictor) -> Generator[ScoredChunk]:
    """Scores chunks in order, in a single pass of the predictor, which therefore does not pause between shards.

    If reading a chunk fails, the chunks before it are yielded first; then the exception is raised.
    """
    # Chunks whose scores have not arrived yet, and None for each blank image. The predictor is not given chunks without
    # images.
    pending: deque[tuple[Chunk, ImageBatch, float] | None] = deque()

    def read_pixels() -> Iterator[Pixels]:
        started, without_images = time.perf_counter(), 0
        for chunk in chunks:
            waited = time.perf_counter() - started
            batch = concat_batches([part for _, part in chunk.parts])
            if job.labels is not None:
                batch = replace(batch, labels=job.labels.labels(batch.ids, batch.positions + chunk.first_row))
            pending.append((chunk, batch, waited))
            if len(batch):
                without_images = 0
                yield batch.pixels
            elif (without_images := without_images + 1) == _MAX_CHUNKS_WITHOUT_IMAGES:
                without_images = 0
                pending.append(None)
                yield _BLANK
            started = time.perf_counter()

    def pass_on_rejects() -> Iterator[ScoredChunk]:
        while pending and pending[0] is not None and not len(pending[0][1]):
            chunk, batch, waited = pending[0]
            pending.popleft()
            yield ScoredChunk(chunk, batch, unscored(0), {}, 0, waited)

    first_row, batch_splits = 0, predictor.batch_splits
    for scores in predictor.score(read_pixels()):
        yield from pass_on_rejects()
        scored = pending.popleft()
        if scored is None:
            first_row, batch_splits = first_row + len(_BLANK), predictor.batch_splits
            continue
        chunk, batch, waited = scored
        failed = () if scores.finite().all() else range(len(batch))
        failures = {i: predictor.failures[first_row + i] for i in failed if first_row + i in predictor.failures}
        yield ScoredChunk(chunk, batch, scores, failures, predictor.batch_splits - batch_splits, waited)
        first_row, batch_splits = first_row + len(batch), predictor.batch_splits
    yield from pass_on_rejects()


def score_shards(
    job: ScoringJob, shards: Iterable[Shard], predictor: Predictor, progress: RowsCallback, check_stop: StopCheck
) -> Iterator[ShardResult]:
    """Yields the result of each shard, in order, as soon as its part is written. The one path that every worker takes.

    shards: taken one by one. While a shard is written, the next ones are read and scored.
    progress: called with the rows of these shards that are done.
    Raises InputError if an input is broken or has changed since the run was planned, StorageError if reading or writing
    fails, and what `check_stop` raises. A note of the exception names the shard.
    """
    environment = read_environment()
    begun: deque[Shard] = deque()  # shards of which a chunk has been read, or is being read
    rows = 0

    def report_rows(done: int) -> None:
        progress(rows + done)

    def begin_shards() -> Iterator[Shard]:
        for shard in shards:
            begun.append(shard)
            yield shard

    with (
        closing(job.readers()) as readers,
        closing(ReadAhead(readers.chunks(begin_shards(), job.batch_size))) as chunks,
        closing(score_chunks(job, chunks, predictor)) as scored_chunks,
    ):
        try:
            for first in scored_chunks:
                shard = begun[0]
                whole = chain([first], scored_chunks)
                result = score_shard(job, shard, whole, readers, report_rows, check_stop)
                yield replace(result, environment=environment)
                rows += shard.rows
                begun.popleft()
        except Exception as error:
            if begun:
                error.add_note(f"in shard {begun[0].index}, which begins at row {begun[0].first_row} of the run")
            raise


def score_shard(
    job: ScoringJob,
    shard: Shard,
    scored_chunks: Iterator[ScoredChunk],
    readers: Readers,
    progress: RowsCallback,
    check_stop: StopCheck,
) -> ShardResult:
    """Writes the part of a shard. Every row becomes a prediction or a reject. Raises as `score_shards` does.

    scored_chunks: the chunks of `readers`, starting with those of this shard; no more than those are taken.
    progress: called with the rows of this shard that are done.
    """
    gathered = _gather_scores(job, shard, scored_chunks, progress, check_stop)
    started = time.perf_counter()
    readers.check_unchanged(shard.spans)
    rows = gathered.rows
    predictions, unscorable = _split_predictions(rows, gathered.scores, gathered.failures)
    # Positions without an image are rejects.
    unread = np.setdiff1d(np.arange(rows.rows), rows.positions).tolist() if rows.rejects else []
    positioned = sorted(
        [*zip(unread, rows.rejects, strict=True), *unscorable.items()], key=lambda positioned: positioned[0]
    )
    rejects = [reject for _, reject in positioned]
    if len(predictions) + len(rejects) != shard.rows:
        raise AssertionError(
            f"shard {shard.index} has {shard.rows} rows: {len(predictions)} were predicted, {len(rejects)} rejected"
        )
    tables = {"predictions": prediction_table(predictions, job.probabilities)}
    if rejects:
        tables["rejects"] = reject_table(rejects)
    sink, attempt = sink_for(job.format), token_hex(4)
    files = dict(
        write_part(sink, table, job.staging, part, shard.index, job.metadata, attempt) for part, table in tables.items()
    )
    result = ShardResult(
        shard.index,
        shard.rows,
        tallies.merge([gathered.tally, tallies.tally_rejects(positioned, shard.first_row)]),
        gathered.preprocessing,
        files,
        gathered.batch_splits,
        add_laps([gathered.seconds, {Stage.WRITE: time.perf_counter() - started}]),
    )
    write_shard_record(job.staging, shard.index, encode_result(result), attempt)
    return result


@dataclass(frozen=True, slots=True)
class _ShardScores:
    """The scored chunks of a shard, joined. rows: without pixels; seconds: all stages except WRITE."""

    rows: ImageBatch
    scores: Scores
    failures: Mapping[int, str]
    preprocessing: Mapping[int, Counter[str]]
    tally: Tally
    batch_splits: int
    seconds: Mapping[str, float]


def _gather_scores(
    job: ScoringJob,
    shard: Shard,
    scored_chunks: Iterator[ScoredChunk],
    progress: RowsCallback,
    check_stop: StopCheck,
) -> _ShardScores:
    batches: list[ImageBatch] = []
    scores: list[Scores] = []
    failures: dict[int, str] = {}
    preprocessing: defaultdict[int, Counter[str]] = defaultdict(Counter)
    laps: list[Mapping[str, float]] = []
    tally, batch_splits, waited, counting, images, rows = tallies.EMPTY_TALLY, 0, 0.0, 0.0, 0, 0
    started = time.perf_counter()
    for scored in islice(scored_chunks, sum(1 for _ in shard.chunks(job.batch_size))):
        received = time.perf_counter()
        for span, part in scored.chunk.parts:
            preprocessing[span.source] += part.preprocessing
            rows += span.rows
        failures |= {images + i: message for i, message in scored.failures.items()}
        tally = tallies.merge([tally, tallies.tally_batch(scored.batch, scored.chunk.first_row, scored.scores)])
        # Pixels are dropped: those of a whole shard are 51 MB.
        batches.append(replace(scored.batch, pixels=_NO_PIXELS))
        scores.append(scored.scores)
        laps.append(scored.chunk.seconds)
        batch_splits += scored.batch_splits
        waited += scored.waited
        images += len(scored.batch)
        counting += time.perf_counter() - received
        check_stop()
        progress(rows)
    model_seconds = max(0.0, time.perf_counter() - started - waited - counting)
    return _ShardScores(
        concat_batches(batches),
        concat_scores(scores),
        failures,
        preprocessing,
        tally,
        batch_splits,
        add_laps([*laps, {Stage.MODEL: model_seconds, Stage.COUNT: counting}]),
    )


def _split_predictions(
    rows: ImageBatch, scores: Scores, failures: Mapping[int, str]
) -> tuple[Predictions, dict[int, Reject]]:
    """Splits scored rows into predictions and, by position, rejects: the rows whose scores are not finite."""
    finite = scores.finite()
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
        ids, labels = ids.filter(mask), labels.filter(mask)
        extra_columns = None if extra_columns is None else extra_columns.filter(mask)
        scores = scores.take(finite)
    digits = scores.probabilities.argmax(axis=1).astype(np.int32)
    return Predictions(ids, labels, digits, scores, extra_columns), rejects
