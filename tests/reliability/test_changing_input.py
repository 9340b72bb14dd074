"""If the input changes while it is read, the run ends, names the changed file, and commits nothing."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from contracts import DIGITS, FORMS, write_idx_pair

from mnist_batch.config import PredictConfig, ReadOptions
from mnist_batch.errors import InputError
from mnist_batch.model.card import model_digest
from mnist_batch.run.job import run_job
from mnist_batch.timing import ProgressCallback
from reliability.readers import set_in

Change = Callable[[Path], None]


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def replace(path: Path) -> None:
    path.with_name("new").write_bytes(path.read_bytes())
    path.with_name("new").rename(path)


def remove(path: Path) -> None:
    path.unlink()


def change_after(rows: int, change: Change, path: Path) -> ProgressCallback:
    """A progress callback that changes a file once `rows` rows are done."""

    def progress(done: int, _: int) -> None:
        if done == rows:
            change(path)

    return progress


@pytest.mark.parametrize("change", [truncate, grow, replace, remove])
@pytest.mark.parametrize(
    "form",
    ["idx", "idx.gz", "npz", "npy", "csv", "csv.gz", "zip stored", "tar", "tar.gz", "parquet: list of uint8"],
)
def test_changed_container_ends_the_run(
    form: str, change: Change, tmp_path: Path, left_in: Callable[[Path], set[str]]
) -> None:
    (tmp_path / "in").mkdir()
    source = FORMS[form](tmp_path / "in", DIGITS)
    path = tmp_path / "in" / source.input.rpartition("/")[2]
    config = PredictConfig((source.input,), tmp_path / "out", source.options, rows_per_part=20, batch_size=16)
    with pytest.raises(InputError, match=path.name):
        run_job(config, change_after(16, change, path))
    assert left_in(tmp_path / "out") == set()


@pytest.mark.parametrize("change", [truncate, grow, remove])
def test_changed_image_file_ends_the_run(
    change: Change, sample_data: Path, tmp_path: Path, left_in: Callable[[Path], set[str]]
) -> None:
    shutil.copytree(sample_data / "digits", tmp_path / "digits")
    path = tmp_path / "digits" / "9" / "9_029.png"
    config = PredictConfig((str(tmp_path / "digits"),), tmp_path / "out", rows_per_part=20)
    with pytest.raises(InputError, match=r"9/9_029\.png"):
        run_job(config, change_after(20, change, path))
    assert left_in(tmp_path / "out") == set()


def test_older_set_survives_a_changed_input(sample_data: Path, tmp_path: Path) -> None:
    path = tmp_path / "digits.zip"
    config = PredictConfig((str(path),), tmp_path / "out", rows_per_part=20, overwrite=True)
    shutil.copy(sample_data / "digits.zip", path)
    run_job(config)
    before = set_in(tmp_path / "out")
    assert before is not None
    path.touch()
    with pytest.raises(InputError, match=r"digits\.zip"):
        run_job(config, change_after(20, grow, path))
    assert set_in(tmp_path / "out") == before
    assert not (tmp_path / "out" / "_work").exists()


def test_changed_sidecar_labels_are_named(tmp_path: Path, left_in: Callable[[Path], set[str]]) -> None:
    # The error must name the changed labels, instead of what a reader finds wrong in them.
    path = write_idx_pair(tmp_path / "in")
    labels = path.with_name("t10k-labels-idx1-ubyte")
    other = path.with_name("u-images")
    other.write_bytes(path.read_bytes())
    config = PredictConfig(
        (str(other.with_name("t10k-images-idx3-ubyte")), str(other)), tmp_path / "out", rows_per_part=10
    )

    def shorten(file: Path) -> None:
        file.write_bytes(b"\0\0\x08\x01\0\0\0\3\1\2\3")

    with pytest.raises(InputError, match="labels-idx1-ubyte: must not change"):
        run_job(config, change_after(10, shorten, labels))
    assert left_in(tmp_path / "out") == set()


def test_vanished_label_file_is_named(sample_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = tmp_path / "labels"
    shutil.copy(sample_data / "digits-labels-idx1-ubyte", labels)

    def remove_labels_and_digest(path: Path) -> str:
        labels.unlink()
        return model_digest(path)

    monkeypatch.setattr("mnist_batch.run.plan.model_digest", remove_labels_and_digest)
    images = sample_data / "digits-images-idx3-ubyte"
    config = PredictConfig((str(images),), tmp_path / "out", ReadOptions(labels=labels))
    with pytest.raises(InputError, match="labels: labels must stay in place"):
        run_job(config)
