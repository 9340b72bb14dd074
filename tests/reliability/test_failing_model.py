"""A model that fails on a batch does not fail the run. A model that fails on every row does."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from contracts import write_idx_pair

from mnist_batch.config import OutputFormat, PredictConfig, Preprocess, PreprocessOptions, ReadOptions, Scale
from mnist_batch.errors import ScoringError
from mnist_batch.model.card import OutputKind
from mnist_batch.model.image_form import ImageForm
from mnist_batch.model.loading import LoadedModel
from mnist_batch.model.opening import OpenedModel
from mnist_batch.model.predictor import TensorFlowPredictor
from mnist_batch.model.selftest import PROBABILITIES, Network, ScaleResult, SelfTest
from mnist_batch.records import ImageError, NumericRows, Pixels, RejectReason, null_labels, string_array
from mnist_batch.run import job
from mnist_batch.run.job import run_job
from mnist_batch.run.result import Result
from mnist_batch.run.scoring import ModelReference, Predictor, ScoringJob, score_shards
from mnist_batch.run.shard_result import ShardResult
from mnist_batch.shards import Shard, Span
from mnist_batch.sources.protocol import SourceDefaults
from mnist_batch.timing import never_stop

BATCH_SIZE = 128
# Values of a row's first pixel.
FAILS, GIVES_NAN = 77, 78


def failing_network(max_rows: int) -> Network:
    """Reads the digit from the second pixel. Fails on more than `max_rows` rows, and on rows that start with FAILS."""

    def network(images: tf.Tensor) -> dict[str, tf.Tensor]:
        is_small = tf.debugging.assert_less_equal(tf.shape(images)[0], max_rows)
        succeeds = tf.debugging.assert_equal(tf.reduce_any(images[:, 0, 0] == FAILS), False)
        with tf.control_dependencies([is_small, succeeds]):
            probabilities = tf.one_hot(tf.cast(images[:, 0, 1], tf.int32), 10)
        return {PROBABILITIES: tf.where((images[:, 0, 0] == GIVES_NAN)[:, None], np.float32("nan"), probabilities)}

    return network


def predictor_of(network: Network, batch_size: int = BATCH_SIZE) -> TensorFlowPredictor:
    """A predictor that feeds the network pixels of 0..255 and takes its outputs as probabilities."""
    output = OutputKind.PROBABILITIES
    model = LoadedModel(
        path=Path("model"),
        digest="",
        scale=Scale.BYTE,
        output=output,
        temperature=1.0,
        card=None,
        selftest=SelfTest(output, (ScaleResult(Scale.BYTE, 1.0, 1.0, loss=0.1, temperature=1.0),)),
        form=ImageForm((28, 28)),
        opened=OpenedModel("a network in memory", lambda _: {}, inputs=(), outputs={}),
        network=network,
    )
    return TensorFlowPredictor(model, batch_size)


@dataclass(frozen=True, eq=False)
class MemorySource(SourceDefaults):
    """Rows in memory, and their own reader. image_errors: rows that are not images, by row number."""

    pixels: Pixels
    image_errors: Mapping[int, ImageError] = field(default_factory=dict)
    format: str = "memory"
    name: str = "memory"
    labelled: bool = False

    @property
    def rows(self) -> int:
        return len(self.pixels)

    def open(self) -> "MemorySource":
        return self

    def read(self, start: int, stop: int) -> list[NumericRows]:
        ids = string_array(str(row) for row in range(start, stop))
        image_errors = {row - start: error for row, error in self.image_errors.items() if start <= row < stop}
        return [NumericRows(ids, null_labels(stop - start), self.pixels[start:stop], image_errors=image_errors)]

    def close(self) -> None:
        pass


@pytest.fixture
def pixels() -> Pixels:
    pixels = np.zeros((500, 28, 28), np.uint8)
    pixels[:, 0, 1] = np.arange(500) % 10
    return pixels


def make_job(source: MemorySource, staging: Path) -> ScoringJob:
    for part in ("predictions", "rejects", "shards"):
        (staging / part).mkdir(parents=True)
    options = PreprocessOptions(Preprocess.NONE)
    return ScoringJob(
        sources=(source,),
        stamps=({},),
        labels=None,
        preprocess_options=options,
        model=ModelReference(Path("model"), "", None, None),
        batch_size=BATCH_SIZE,
        format=OutputFormat.PARQUET,
        probabilities=False,
        staging=staging,
        metadata={},
    )


def score(scoring: ScoringJob, shard: Shard, predictor: Predictor) -> ShardResult:
    (result,) = score_shards(scoring, [shard], predictor, lambda _: None, never_stop)
    return result


def score_all(
    pixels: Pixels, max_rows: int, staging: Path, image_errors: Mapping[int, ImageError] | None = None
) -> ShardResult:
    """Scores all rows as one shard, with `failing_network(max_rows)`."""
    scoring = make_job(MemorySource(pixels, image_errors or {}), staging)
    shard = Shard(0, 0, (Span(0, 0, len(pixels)),))
    return score(scoring, shard, predictor_of(failing_network(max_rows)))


def test_too_large_batch_is_halved(pixels: Pixels, tmp_path: Path) -> None:
    result = score_all(pixels, 50, tmp_path)
    assert result.tally.predictions.tolist() == [50] * 10
    assert result.batch_splits > 0


def test_splits_are_counted_once(pixels: Pixels, tmp_path: Path) -> None:
    """In every shard, those of its own chunks."""
    pixels[[3, 200, 260, 499], 0, 0] = FAILS
    predictor = predictor_of(failing_network(1000))
    shards = [Shard(index, 250 * index, (Span(0, 250 * index, 250 * index + 250),)) for index in range(2)]
    results = list(
        score_shards(make_job(MemorySource(pixels), tmp_path), shards, predictor, lambda _: None, never_stop)
    )
    # Each of the four batches has one bad row, and is halved seven times.
    assert [result.batch_splits for result in results] == [14, 14]
    assert predictor.batch_splits == 28


def test_failing_row_is_a_reject(pixels: Pixels, tmp_path: Path) -> None:
    pixels[[3, 200, 499], 0, 0] = FAILS
    result = score_all(pixels, 1000, tmp_path)
    predictions = pq.read_table(tmp_path / "predictions").to_pydict()
    assert all(
        int(name) % 10 == digit for name, digit in zip(predictions["id"], predictions["prediction"], strict=True)
    )
    rejects = pq.read_table(tmp_path / "rejects").to_pylist()
    assert [reject["id"] for reject in rejects] == ["3", "200", "499"]
    assert {reject["reason"] for reject in rejects} == {"unscorable"}
    assert (result.tally.predicted, result.tally.rejected) == (497, 3)


def test_row_without_a_number_is_a_reject(pixels: Pixels, tmp_path: Path) -> None:
    pixels[7, 0, 0] = GIVES_NAN
    result = score_all(pixels, 1000, tmp_path)
    assert result.tally.rejects == {"unscorable": 1}
    assert result.batch_splits == 0


def reject_details(staging: Path) -> dict[str, str]:
    """The details of the rejects, by id, in the order of the parts."""
    return {reject["id"]: reject["detail"] for reject in pq.read_table(staging / "rejects").to_pylist()}


def test_rejects_come_in_input_order(pixels: Pixels, tmp_path: Path) -> None:
    pixels[[7, 200, 480], 0, 0] = GIVES_NAN
    no_image = ImageError(RejectReason.NULL_IMAGE, "none")
    score_all(pixels, 1000, tmp_path, dict.fromkeys((3, 199, 201, 499), no_image))
    assert list(reject_details(tmp_path)) == ["3", "7", "199", "200", "201", "480", "499"]


def test_each_reject_has_its_own_cause(pixels: Pixels, tmp_path: Path) -> None:
    pixels[7, 0, 0], pixels[300, 0, 0] = GIVES_NAN, FAILS
    scoring = make_job(MemorySource(pixels), tmp_path)
    predictor = predictor_of(failing_network(1000))
    score(scoring, Shard(0, 0, (Span(0, 0, 400),)), predictor)
    details = reject_details(tmp_path)
    assert details["7"] == "the model gave no number"
    assert details["300"].startswith("assertion failed")
    pixels[450, 0, 0] = GIVES_NAN
    score(scoring, Shard(1, 400, (Span(0, 400, 500),)), predictor)
    assert reject_details(tmp_path)["450"] == "the model gave no number"


def test_failing_rows_cause_no_retracing(pixels: Pixels) -> None:
    traces = []
    network = failing_network(10_000)

    def traced_network(images: tf.Tensor) -> dict[str, tf.Tensor]:
        traces.append(images.shape)
        return network(images)

    many = np.tile(pixels, (5, 1, 1))
    many[:2000, 0, 0] = FAILS
    predictor = predictor_of(traced_network, 4096)
    (scores,) = predictor.score(iter([many]))
    probabilities = scores.probabilities
    assert np.isnan(probabilities[:2000]).all()
    assert (probabilities[2000:].argmax(axis=1) == np.arange(500) % 10).all()
    assert sorted(predictor.failures) == list(range(2000))
    assert len(traces) == 2


@pytest.fixture
def score_run(pixels: Pixels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Result]:
    """Runs the real job with `failing_network` over the pixels as they are then, in parts of 20 rows."""

    def run() -> Result:
        images = write_idx_pair(tmp_path / "in", pixels, np.zeros(len(pixels), np.uint8))
        reading = ReadOptions(preprocess_options=PreprocessOptions(Preprocess.NONE))
        config = PredictConfig((str(images),), tmp_path / "out", reading, rows_per_part=20, batch_size=16)
        monkeypatch.setattr(job, "load_predictor", lambda _: predictor_of(failing_network(1000), 16))
        return run_job(config)

    return run


def test_failing_on_every_row_ends_the_run(score_run: Callable[[], Result], pixels: Pixels, tmp_path: Path) -> None:
    pixels[:, 0, 0] = FAILS
    with pytest.raises(
        ScoringError, match=r"must score at least one of 500 images, but failed on all \(.+\)"
    ) as caught:
        score_run()
    assert caught.value.exit_code == 78
    assert not (tmp_path / "out" / "_SUCCESS").exists()


def test_failing_on_the_first_rows_ends_the_run_soon(
    score_run: Callable[[], Result], pixels: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "_HOPELESS_ROWS", 50)
    pixels[:, 0, 0] = FAILS
    with pytest.raises(ScoringError, match="must score at least one of 60 images"):
        score_run()


@pytest.mark.parametrize("value", [FAILS, GIVES_NAN])
def test_failing_on_every_row_of_a_part_does_not(score_run: Callable[[], Result], pixels: Pixels, value: int) -> None:
    pixels[480:, 0, 0] = value
    pixels[20:40, 0, 0] = value
    assert score_run().report.rejects_by_reason == {"unscorable": 40}


def test_many_rejects_are_passed_on_before_an_image_comes(pixels: Pixels, tmp_path: Path) -> None:
    """Parts are written while rejects are read, although the model has nothing to return."""
    errors = dict.fromkeys(range(10, 490), ImageError(RejectReason.NULL_IMAGE, "none"))
    scoring = replace(make_job(MemorySource(pixels, errors), tmp_path), batch_size=4)
    read: list[int] = []

    def shards() -> Iterator[Shard]:
        for index in range(100):
            read.append(index)
            yield Shard(index, 5 * index, (Span(0, 5 * index, 5 * index + 5),))

    progress: list[int] = []
    results = score_shards(scoring, shards(), predictor_of(failing_network(1000), 16), progress.append, never_stop)
    waiting = [len(read) - result.index for result in results]
    assert len(waiting) == 100
    # Chunks read ahead, those held back for each of the model's batches in flight, and those that it was given.
    assert max(waiting) < 50
    assert progress == sorted(progress)
    assert progress[-1] == 500
    rejected = pq.read_table(tmp_path / "rejects")["id"].to_pylist()
    predicted = pq.read_table(tmp_path / "predictions")["id"].to_pylist()
    assert rejected == [str(row) for row in range(10, 490)]
    assert predicted == [str(row) for row in [*range(10), *range(490, 500)]]
