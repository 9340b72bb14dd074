"""Images that lie transposed, as EMNIST's do, are noticed by how sure the model is."""

import numpy as np
import pytest
from contracts import PIXELS, idx_bytes

from mnist_batch import predict
from mnist_batch.run.transpose_check import check_transposed
from mnist_batch.sources.idx import read_idx


class SureOfUpright:
    """As sure of an image as its ink reaches down rather than across."""

    batch_splits, failures = 0, {}

    def probabilities(self, batches):
        for batch in batches:
            down = batch.any(axis=2).sum(axis=1) / 28
            yield np.stack([down, *[(1 - down) / 9] * 9], axis=1).astype(np.float32)


@pytest.fixture
def upright():
    pixels = np.zeros((64, 28, 28), np.uint8)
    pixels[:, 4:24, 12:16] = 255
    return pixels


@pytest.mark.parametrize(("transposed", "advice"), [(False, "try --transpose"), (True, "drop --transpose")])
def test_images_that_the_model_is_surer_of_when_transposed_are_told(upright, transposed, advice):
    lying = upright.transpose(0, 2, 1)
    line = check_transposed([lying[:40], lying[40:]], SureOfUpright(), transposed)
    assert line.startswith("the images look transposed: mean confidence on 64 of them is 0.14 as read and 0.71 with")
    assert line.endswith(advice)


def test_images_that_lie_right_or_are_too_few_are_not(upright):
    assert check_transposed([upright], SureOfUpright(), False) is None
    assert check_transposed([upright.transpose(0, 2, 1)[:31]], SureOfUpright(), False) is None
    assert check_transposed([], SureOfUpright(), False) is None


def test_a_run_on_transposed_digits_warns_and_transpose_mends_it(tmp_path):
    (tmp_path / "digits").write_bytes(idx_bytes(np.ascontiguousarray(PIXELS.transpose(0, 2, 1))))
    wrong = predict(tmp_path / "digits", output=tmp_path / "wrong")
    assert [line for line in wrong.warnings if "try --transpose" in line]
    mended = predict(tmp_path / "digits", output=tmp_path / "mended", transpose=True)
    assert not [line for line in mended.warnings if "transpose" in line]
    (tmp_path / "straight").write_bytes(idx_bytes(PIXELS))
    straight = predict(tmp_path / "straight", output=tmp_path / "right")
    assert mended.to_pandas()["prediction"].tolist() == straight.to_pandas()["prediction"].tolist()


@pytest.mark.real_data
def test_mnist_as_it_is_raises_no_doubt_and_transposed_it_does(real_data, tmp_path):
    images = real_data / "mnist" / "t10k-images-idx3-ubyte.gz"
    assert predict(images, output=tmp_path / "right").warnings == []
    (tmp_path / "digits").write_bytes(idx_bytes(np.ascontiguousarray(read_idx(images).transpose(0, 2, 1))))
    line, drift = predict(tmp_path / "digits", output=tmp_path / "wrong").warnings
    assert "try --transpose" in line
    assert "does not look like what the model was trained on" in drift
