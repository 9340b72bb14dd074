"""If the input changes while it is read, the run ends, names the changed file, and commits nothing."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from contracts import DIGITS, FORMS, LABELS, idx_bytes, write_files, write_idx_pair

from mnist_batch.config import PredictConfig, ReadOptions
from mnist_batch.errors import InputError, ModelError
from mnist_batch.model import loading
from mnist_batch.model.bundled import resolve_model
from mnist_batch.model.card import card_path, model_digest
from mnist_batch.model.opening import OpenedModel, open_model
from mnist_batch.run import job
from mnist_batch.run.job import run_job
from mnist_batch.run.plan import Plan, make_plan
from mnist_batch.sources import discover, label_file
from mnist_batch.sources.idx import read_labels
from mnist_batch.sources.listing import Listing, list_files
from mnist_batch.sources.protocol import File
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


def touch(path: Path) -> None:
    os.utime(path, (1, 1))


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
    [
        *("idx", "idx.gz", "npz", "npy", "csv", "csv.gz", "zip stored", "tar", "tar.gz", "parquet: list of uint8"),
        *("idx.gz in zip", "csv in tar", "npz in tar.gz"),
    ],
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


@pytest.mark.parametrize("change", [truncate, grow, touch, remove])
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


def test_label_file_may_go_once_it_is_read(sample_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = tmp_path / "labels"
    shutil.copy(sample_data / "digits-labels-idx1-ubyte", labels)

    def remove_labels_and_digest(path: Path) -> str:
        labels.unlink()
        return model_digest(path)

    monkeypatch.setattr("mnist_batch.run.plan.model_digest", remove_labels_and_digest)
    images = sample_data / "digits-images-idx3-ubyte"
    config = PredictConfig((str(images),), tmp_path / "out", ReadOptions(labels=labels))
    assert run_job(config).report.labelled == 300


def test_label_file_replaced_while_it_is_read_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left_in: Callable[[Path], set[str]]
) -> None:
    images = write_idx_pair(tmp_path / "in")
    labels = tmp_path / "labels"
    labels.write_bytes(idx_bytes(LABELS))
    read = read_labels

    def read_then_replace(file: File) -> pa.Int32Array:
        digits = read(file)
        labels.write_bytes(idx_bytes(LABELS[::-1].copy()))
        os.utime(labels, (1, 1))
        return digits

    monkeypatch.setattr(label_file, "read_labels", read_then_replace)
    config = PredictConfig((str(images),), tmp_path / "out", ReadOptions(labels=labels))
    with pytest.raises(InputError, match=f"{labels}: must not change while it is scored"):
        run_job(config)
    assert left_in(tmp_path / "out") == set()


@pytest.mark.parametrize("name", ["labels.csv", "3.cls"])
def test_labels_replaced_between_listing_and_reading_end_the_run(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = {"labels.csv": "id,label\n3.png,7\n", "3.cls": "7"}
    write_files(tmp_path / "in", {"3.png": DIGITS.pngs[0], name: texts[name].encode()})

    def list_then_replace(inputs: tuple[str, ...]) -> Listing:
        listing = list_files(inputs)
        (tmp_path / "in" / name).write_text(texts[name].replace("7", "1"))
        os.utime(tmp_path / "in" / name, (1, 1))
        return listing

    monkeypatch.setattr(discover, "list_files", list_then_replace)
    with pytest.raises(InputError, match=f"{name}: must not change while it is scored"):
        run_job(PredictConfig((str(tmp_path / "in"),), tmp_path / "out"))


def test_model_replaced_while_it_is_loaded_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left_in: Callable[[Path], set[str]]
) -> None:
    images, model = write_idx_pair(tmp_path / "in"), tmp_path / "model"
    shutil.copytree(resolve_model("seed"), model)

    def replace_then_open(path: Path) -> OpenedModel:
        opened = open_model(path)
        (model / "more").write_bytes(b"x")
        return opened

    monkeypatch.setattr(loading, "open_model", replace_then_open)
    with pytest.raises(ModelError, match="must not change while it is loaded"):
        run_job(PredictConfig((str(images),), tmp_path / "out", model=str(model)))
    assert left_in(tmp_path / "out") == set()


def test_card_replaced_after_planning_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left_in: Callable[[Path], set[str]]
) -> None:
    images, model = write_idx_pair(tmp_path / "in"), tmp_path / "model"
    shutil.copytree(resolve_model("seed"), model)
    card = card_path(resolve_model("seed")).read_text()
    card_path(model).write_text(card)

    def plan_then_replace(config: PredictConfig) -> Plan:
        plan = make_plan(config)
        card_path(model).write_text(json.dumps(json.loads(card) | {"temperature": 3.0}))
        return plan

    monkeypatch.setattr(job, "make_plan", plan_then_replace)
    with pytest.raises(ModelError, match="must not change while a run starts"):
        run_job(PredictConfig((str(images),), tmp_path / "out", model=str(model)))
    assert left_in(tmp_path / "out") == set()
