"""Input that changes while it is read is noticed, named, and nothing of it is committed."""

import shutil

import pytest
from contracts import DIGITS, FORMS, write_idx_pair

from mnist_batch.config import PredictConfig, ReadOptions
from mnist_batch.errors import InputError
from mnist_batch.run import plan as planning
from mnist_batch.run.job import run_job
from reliability.readers import set_in


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def grow(path):
    with path.open("ab") as file:
        file.write(b"more")


def replace(path):
    path.with_name("new").write_bytes(path.read_bytes())
    path.with_name("new").rename(path)


def remove(path):
    path.unlink()


@pytest.mark.parametrize("change", [truncate, grow, replace, remove])
@pytest.mark.parametrize("form", ["idx", "idx.gz", "npz", "zip stored", "tar", "tar.gz", "parquet: list of uint8"])
def test_a_container_that_changes_after_planning_ends_the_run(form, change, tmp_path, left_in):
    (tmp_path / "in").mkdir()
    source = FORMS[form](tmp_path / "in", DIGITS)
    path = tmp_path / "in" / source.input.rpartition("/")[2]

    def watch(done, _):
        if done == 16:
            change(path)

    config = PredictConfig((source.input,), tmp_path / "out", source.options, rows_per_part=20, batch_size=16)
    with pytest.raises(InputError, match=path.name):
        run_job(config, watch)
    assert left_in(tmp_path / "out") == set()


@pytest.mark.parametrize("change", [truncate, grow, remove])
def test_an_image_file_that_changes_before_it_is_read_ends_the_run(change, sample_data, tmp_path, left_in):
    shutil.copytree(sample_data / "digits", tmp_path / "digits")

    def watch(done, _):
        if done == 20:
            change(tmp_path / "digits" / "9" / "9_029.png")

    config = PredictConfig((str(tmp_path / "digits"),), tmp_path / "out", rows_per_part=20)
    with pytest.raises(InputError, match=r"9/9_029\.png"):
        run_job(config, watch)
    assert left_in(tmp_path / "out") == set()


def test_an_older_set_stays_where_the_input_of_a_newer_one_changed(sample_data, tmp_path):
    config = PredictConfig((str(tmp_path / "digits.zip"),), tmp_path / "out", rows_per_part=20, overwrite=True)
    shutil.copy(sample_data / "digits.zip", tmp_path / "digits.zip")
    run_job(config)
    before = set_in(tmp_path / "out")
    (tmp_path / "digits.zip").touch()
    with pytest.raises(InputError, match=r"digits\.zip"):
        run_job(config, lambda done, _: grow(tmp_path / "digits.zip") if done == 20 else None)
    assert set_in(tmp_path / "out") == before is not None
    assert not (tmp_path / "out" / "_work").exists()


def test_labels_beside_the_images_that_change_are_named_and_not_what_a_reader_stumbles_over(tmp_path, left_in):
    path = write_idx_pair(tmp_path / "in")
    labels = path.with_name("t10k-labels-idx1-ubyte")
    other = path.with_name("u-images")
    other.write_bytes(path.read_bytes())
    config = PredictConfig(
        (str(other.with_name("t10k-images-idx3-ubyte")), str(other)), tmp_path / "out", rows_per_part=10
    )
    with pytest.raises(InputError, match="labels-idx1-ubyte: must not change"):
        run_job(config, lambda done, _: labels.write_bytes(b"\0\0\x08\x01\0\0\0\3\1\2\3") if done == 10 else None)
    assert left_in(tmp_path / "out") == set()


def test_a_label_file_that_goes_while_the_run_is_planned_is_named(sample_data, tmp_path, monkeypatch):
    labels = tmp_path / "labels"
    shutil.copy(sample_data / "digits-labels-idx1-ubyte", labels)
    digest = planning.model_digest
    monkeypatch.setattr(planning, "model_digest", lambda path: labels.unlink() or digest(path))
    config = PredictConfig((str(sample_data / "digits.zip"),), tmp_path / "out", ReadOptions(labels))
    with pytest.raises(InputError, match="labels: labels must stay in place"):
        run_job(config)
