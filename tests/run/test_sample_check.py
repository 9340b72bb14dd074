"""Images of another kind than the model's are detected by its confidence: transposed ones, as EMNIST's, and others."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from contracts import PIXELS, idx_bytes

from mnist_batch import predict
from mnist_batch.records import Pixels, Scores
from mnist_batch.run.sample_check import check_sample
from mnist_batch.sources.idx import read_idx


class FakePredictor:
    """Its confidence is the height of the ink, as a share of the image."""

    def __init__(self) -> None:
        self.batch_splits = 0
        self.failures: Mapping[int, str] = {}

    def score(self, batches: Iterable[Pixels]) -> Iterator[Scores]:
        for batch in batches:
            height = batch.any(axis=2).sum(axis=1) / 28
            probabilities = np.stack([height, *[(1 - height) / 9] * 9], axis=1).astype(np.float32)
            yield Scores(probabilities, probabilities.max(axis=1))


@pytest.fixture
def upright() -> Pixels:
    """64 images of a vertical bar."""
    pixels: Pixels = np.zeros((64, 28, 28), np.uint8)
    pixels[:, 4:24, 12:16] = 255
    return pixels


@pytest.mark.parametrize(("transposed", "advice"), [(False, "try --transpose"), (True, "drop --transpose")])
def test_transposed_images_are_warned_about(upright: Pixels, transposed: bool, advice: str) -> None:
    images = upright.transpose(0, 2, 1)
    (line,) = check_sample([images[:40], images[40:]], FakePredictor(), transposed, 0.7)
    assert line.startswith("the images look transposed: mean confidence on 64 of them is 0.14 as read and 0.71 with")
    assert line.endswith(advice)


def test_few_or_upright_images_do_not_warn(upright: Pixels) -> None:
    assert check_sample([upright], FakePredictor(), False, 0.7) == []
    assert check_sample([upright.transpose(0, 2, 1)[:31]], FakePredictor(), False, 0.7) == []
    assert check_sample([], FakePredictor(), False, 0.7) == []


@pytest.mark.parametrize(("expected", "warned"), [(0.86, False), (0.87, True)])
def test_confidence_far_below_the_self_test_is_warned_about(upright: Pixels, expected: float, warned: bool) -> None:
    lines = check_sample([upright[:40], upright[40:]], FakePredictor(), False, expected)  # its confidence is 0.714
    found = "mean confidence on 64 of the images is 0.71, on digits that the model knows 0.87: look at the images"
    assert [line[: len(found)] for line in lines] == ([found] if warned else [])
    assert check_sample([upright[:31]], FakePredictor(), False, 1.0) == []


def test_transpose_fixes_transposed_digits(tmp_path: Path) -> None:
    (tmp_path / "digits").write_bytes(idx_bytes(np.ascontiguousarray(PIXELS.transpose(0, 2, 1))))
    as_read = predict(tmp_path / "digits", output=tmp_path / "as_read")
    assert [line for line in as_read.warnings if "try --transpose" in line]
    transposed = predict(tmp_path / "digits", output=tmp_path / "transposed", transpose=True)
    assert not [line for line in transposed.warnings if "transpose" in line]
    (tmp_path / "upright").write_bytes(idx_bytes(PIXELS))
    upright = predict(tmp_path / "upright", output=tmp_path / "out")
    assert transposed.to_pandas()["prediction"].tolist() == upright.to_pandas()["prediction"].tolist()


@pytest.mark.real_data
def test_warning_for_transposed_mnist_only(real_data: Path, tmp_path: Path) -> None:
    images = real_data / "mnist" / "t10k-images-idx3-ubyte.gz"
    assert predict(images, output=tmp_path / "upright").warnings == []
    (tmp_path / "digits").write_bytes(idx_bytes(np.ascontiguousarray(read_idx(images).transpose(0, 2, 1))))
    transposed, drift = predict(tmp_path / "digits", output=tmp_path / "transposed").warnings
    assert "try --transpose" in transposed
    assert "does not look like what the model was trained on" in drift
