"""A model that fails on a batch is not a failing run; a model that fails on everything is."""

from contextlib import closing
from types import MappingProxyType

import numpy as np
import pytest
import tensorflow as tf

from mnist_batch.config import Preprocess, PreprocessOptions
from mnist_batch.errors import MnistBatchError
from mnist_batch.model.predictor import TensorFlowPredictor
from mnist_batch.records import ImageError, NumericRows, RejectReason, null_labels, string_array
from mnist_batch.run.scoring import ScoringJob, answered, score_shard
from mnist_batch.shards import Shard, Span


class Model:
    """Knows a digit by its second pixel; fails on more than `limit` rows, and on any row whose first pixel is 77."""

    def __init__(self, limit):
        self.limit = limit

    def probabilities(self, pixels):
        few = tf.debugging.assert_less_equal(tf.shape(pixels)[0], self.limit)
        fine = tf.debugging.assert_equal(tf.reduce_any(pixels[:, 0, 0] == 77), False)
        with tf.control_dependencies([few, fine]):
            probabilities = tf.one_hot(tf.cast(pixels[:, 0, 1], tf.int32), 10)
        return tf.where((pixels[:, 0, 0] == 78)[:, None], np.float32("nan"), probabilities)


class Source:
    """Rows in memory; image_errors: by row, what is no image."""

    def __init__(self, pixels, image_errors=MappingProxyType({})):
        self.pixels, self.image_errors = pixels, image_errors

    def open(self):
        return self

    def read(self, start, stop):
        ids = string_array(str(row) for row in range(start, stop))
        image_errors = {
            row - start: image_error for row, image_error in self.image_errors.items() if start <= row < stop
        }
        return [NumericRows(ids, null_labels(stop - start), self.pixels[start:stop], image_errors=image_errors)]

    def close(self):
        pass


@pytest.fixture
def pixels():
    pixels = np.zeros((500, 28, 28), np.uint8)
    pixels[:, 0, 1] = np.arange(500) % 10
    return pixels


def score(job, shard, predictor):
    with closing(job.readers()) as readers:
        answers = answered(job, readers.chunks([shard], job.batch_size), predictor)
        return score_shard(job, shard, answers, readers, [].append)


def scored(pixels, limit, staging, image_errors=MappingProxyType({})):
    for part in ("predictions", "rejects", "shards"):
        (staging / part).mkdir(parents=True)
    source = Source(pixels, image_errors)
    job = ScoringJob((source,), ({},), None, PreprocessOptions(Preprocess.NONE), 128, "parquet", False, staging, {})
    shard = Shard(0, 0, (Span(0, 0, len(pixels)),))
    return score(job, shard, TensorFlowPredictor(Model(limit), 128))


def test_a_batch_that_is_too_large_is_halved_and_every_row_predicted(pixels, tmp_path):
    result = scored(pixels, 50, tmp_path)
    assert result.tally.predictions.tolist() == [50] * 10
    assert result.batch_splits > 0


def test_a_row_that_fails_is_a_reject_and_its_neighbours_keep_their_predictions(pixels, tmp_path):
    import pyarrow.parquet as pq

    pixels[[3, 200, 499], 0, 0] = 77
    result = scored(pixels, 1000, tmp_path)
    predictions = pq.read_table(tmp_path / "predictions").to_pydict()
    assert all(
        int(name) % 10 == digit for name, digit in zip(predictions["id"], predictions["prediction"], strict=True)
    )
    rejects = pq.read_table(tmp_path / "rejects").to_pylist()
    assert [reject["id"] for reject in rejects] == ["3", "200", "499"]
    assert {reject["reason"] for reject in rejects} == {"unscorable"}
    assert (result.tally.predicted, result.tally.rejected) == (497, 3)


def test_a_row_for_which_the_model_gives_no_number_is_a_reject(pixels, tmp_path):
    pixels[7, 0, 0] = 78
    result = scored(pixels, 1000, tmp_path)
    assert result.tally.rejects == {"unscorable": 1}
    assert result.batch_splits == 0


def rejects_in(staging):
    import pyarrow.parquet as pq

    return {reject["id"]: reject["detail"] for reject in pq.read_table(staging / "rejects").to_pylist()}


def test_rejects_come_in_input_order_whoever_rejected_them(pixels, tmp_path):
    pixels[[7, 200, 480], 0, 0] = 78
    no_image = ImageError(RejectReason.NULL_IMAGE, "none")
    scored(pixels, 1000, tmp_path, dict.fromkeys((3, 199, 201, 499), no_image))
    assert list(rejects_in(tmp_path)) == ["3", "7", "199", "200", "201", "480", "499"]


def test_each_row_has_its_own_cause_and_none_of_an_earlier_part(pixels, tmp_path):
    pixels[7, 0, 0], pixels[300, 0, 0] = 78, 77
    for part in ("predictions", "rejects", "shards"):
        (tmp_path / part).mkdir()
    job = ScoringJob(
        (Source(pixels),), ({},), None, PreprocessOptions(Preprocess.NONE), 128, "parquet", False, tmp_path, {}
    )
    predictor = TensorFlowPredictor(Model(1000), 128)
    score(job, Shard(0, 0, (Span(0, 0, 400),)), predictor)
    details = rejects_in(tmp_path)
    assert details["7"] == "the model gave no number"
    assert details["300"].startswith("assertion failed")
    pixels[450, 0, 0] = 78
    score(job, Shard(1, 400, (Span(0, 400, 500),)), predictor)
    assert rejects_in(tmp_path)["450"] == "the model gave no number"


def test_a_model_that_fails_on_thousands_of_rows_is_not_traced_for_each(pixels):
    traces = []

    class Traced(Model):
        def probabilities(self, pixels):
            traces.append(pixels.shape)
            return super().probabilities(pixels)

    many = np.tile(pixels, (5, 1, 1))
    many[:2000, 0, 0] = 77
    predictor = TensorFlowPredictor(Traced(10_000), 4096)
    (probabilities,) = predictor.probabilities(iter([many]))
    assert np.isnan(probabilities[:2000]).all()
    assert (probabilities[2000:].argmax(axis=1) == np.arange(500) % 10).all()
    assert sorted(predictor.failures) == list(range(2000))
    assert len(traces) == 2


def test_a_model_that_fails_on_every_row_ends_the_run(pixels, tmp_path):
    pixels[:, 0, 0] = 77
    with pytest.raises(MnistBatchError, match="it failed on each") as failure:
        scored(pixels[:40], 1000, tmp_path)
    assert failure.value.exit_code == 70
    assert list((tmp_path / "predictions").iterdir()) == []
