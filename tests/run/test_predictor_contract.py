"""What every predictor must do, fakes of the tests included."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from reliability.fake_job import FakeModel
from reliability.fake_job import FakePredictor as InkPredictor

from mnist_batch.model.bundled import resolve_model
from mnist_batch.model.loading import load_model
from mnist_batch.model.predictor import TensorFlowPredictor
from mnist_batch.records import Pixels
from mnist_batch.run.scoring import Predictor
from run.test_sample_check import FakePredictor as HeightPredictor

BATCH_SIZE = 64
PREDICTORS: dict[str, Callable[[], Predictor]] = {
    "tensorflow": lambda: TensorFlowPredictor(load_model(resolve_model("seed"), None), BATCH_SIZE),
    "ink": lambda: InkPredictor(FakeModel(resolve_model("seed"), None), BATCH_SIZE),
    "height": HeightPredictor,
}


@pytest.fixture(scope="module", params=PREDICTORS)
def predictor(request: pytest.FixtureRequest) -> Predictor:
    return PREDICTORS[request.param]()


def batches(*sizes: int) -> list[Pixels]:
    pixels: Pixels = np.random.default_rng(0).integers(0, 256, (sum(sizes), 28, 28), np.uint8)
    return np.split(pixels, np.cumsum(sizes)[:-1])


def test_every_batch_gets_its_scores_in_order(predictor: Predictor) -> None:
    sizes = [1, BATCH_SIZE, 17]
    scores = list(predictor.score(batches(*sizes)))
    assert [len(s) for s in scores] == sizes
    for s, size in zip(scores, sizes, strict=True):
        assert s.probabilities.shape == (size, 10)
        assert {s.probabilities.dtype, s.confidence.dtype} == {np.dtype(np.float32)}
        assert s.finite().all()
        np.testing.assert_array_equal(s.confidence, s.probabilities.max(axis=1))
        np.testing.assert_allclose(s.probabilities.sum(axis=1), 1, atol=1e-5)


def test_scores_do_not_depend_on_the_batch(predictor: Predictor) -> None:
    (whole,) = predictor.score(batches(48))
    parts = list(predictor.score(np.split(batches(48)[0], [5, 6])))
    np.testing.assert_array_equal(whole.probabilities, np.concatenate([part.probabilities for part in parts]))


def test_it_can_be_called_again(predictor: Predictor) -> None:
    """Also after a pass that was left early."""
    passes = predictor.score(batches(8, 8, 8))
    first = next(passes)
    (again,) = predictor.score(batches(8, 8, 8)[:1])
    np.testing.assert_array_equal(first.probabilities, again.probabilities)
    assert list(predictor.score([])) == []


def test_errors_of_the_batches_are_raised(predictor: Predictor) -> None:
    def read() -> Iterator[Pixels]:
        yield batches(4)[0]
        raise KeyError("broken")

    scores = predictor.score(read())
    assert len(next(scores)) == 4
    with pytest.raises(KeyError, match="broken"):
        list(scores)


def test_nothing_fails_on_good_images(predictor: Predictor) -> None:
    list(predictor.score(batches(30)))
    assert (predictor.batch_splits, dict(predictor.failures)) == (0, {})
