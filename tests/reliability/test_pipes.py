"""A pipe in the place of a file is refused. Opening one would block, with the lock held."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Cli
from contracts import DIGITS, FORMS, write_idx_pair

from mnist_batch.config import PredictConfig
from mnist_batch.errors import InputError
from mnist_batch.model.bundled import resolve_model
from mnist_batch.model.card import card_path
from mnist_batch.regular_files import open_regular
from mnist_batch.run import job
from mnist_batch.run.job import run_job
from mnist_batch.run.plan import Plan, make_plan


def replace_by_pipe(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return write_idx_pair(tmp_path / "in")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A copy of the bundled model, with its card."""
    path = Path(shutil.copytree(resolve_model("seed"), tmp_path / "model"))
    shutil.copy(card_path(resolve_model("seed")), card_path(path))
    return path


def test_regular_file_is_opened_and_others_are_not(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    with open_regular(tmp_path / "file") as file:
        assert file.read() == b"x"
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path(os.devnull)):
        with pytest.raises(OSError, match="it is a pipe or a device"):
            open_regular(path)
    with pytest.raises(IsADirectoryError):
        open_regular(tmp_path)


@pytest.mark.parametrize(
    "form",
    [
        *("idx", "idx.gz", "npz", "npy", "csv", "csv.gz", "zip stored", "tar", "tar.gz", "parquet: list of uint8"),
        *("idx.gz in zip", "csv in tar", "npz in tar.gz"),
    ],
)
@pytest.mark.parametrize("planned", [True, False])
def test_container_that_becomes_a_pipe_ends_the_run(
    form: str, planned: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left_in: Callable[[Path], set[str]]
) -> None:
    """planned: whether it becomes one after planning, or while the run is planned."""
    (tmp_path / "in").mkdir()
    source = FORMS[form](tmp_path / "in", DIGITS)
    path = tmp_path / "in" / source.input.rpartition("/")[2]

    def plan_then_replace(config: PredictConfig) -> Plan:
        plan = make_plan(config)
        replace_by_pipe(path)
        return plan

    def list_then_replace(*arguments: object) -> object:
        listing = list_files(*arguments)  # type: ignore[arg-type]  # passed on
        replace_by_pipe(path)
        return listing

    from mnist_batch.sources import discover
    from mnist_batch.sources.listing import list_files

    if planned:
        monkeypatch.setattr(job, "make_plan", plan_then_replace)
    else:
        monkeypatch.setattr(discover, "list_files", list_then_replace)
    config = PredictConfig((source.input,), tmp_path / "out", source.options, rows_per_part=20, batch_size=16)
    with pytest.raises(Exception, match=path.name) as caught:
        run_job(config)
    assert getattr(caught.value, "exit_code", 70) in (65, 74)
    if planned:
        assert isinstance(caught.value, InputError)
        assert left_in(tmp_path / "out") == set()


@pytest.mark.parametrize("option", ["--labels", "--baseline", "--model"])
def test_pipe_as_an_option_is_refused(option: str, images: Path, tmp_path: Path, cli: Cli) -> None:
    os.mkfifo(tmp_path / "pipe")
    run = cli("predict", images, "--output", tmp_path / "out", option, tmp_path / "pipe")
    assert run.code in (65, 66, 74, 78)
    assert len(run.stderr.splitlines()) == 1
    assert f"{tmp_path}/pipe" in run.stderr


@pytest.mark.parametrize("name", ["model.card.json", "model/saved_model.pb", "model/variables/variables.index"])
def test_pipe_as_a_part_of_the_model_is_refused(name: str, images: Path, model: Path, tmp_path: Path, cli: Cli) -> None:
    assert (tmp_path / name).exists()
    replace_by_pipe(tmp_path / name)
    run = cli("predict", images, "--output", tmp_path / "out", "--model", model)
    if name == "model.card.json":  # as if there were none
        assert run.code == 0
    else:
        assert run.code == 78
        assert len(run.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "name", ["manifest.json", "report.json", "_SUCCESS", "files.arrow", "_work/run.json", "_work/commit.json"]
)
def test_pipe_in_the_output_is_refused(name: str, images: Path, tmp_path: Path, cli: Cli) -> None:
    output = tmp_path / "out"
    assert cli("predict", images, "--output", output).code == 0
    (output / name).parent.mkdir(exist_ok=True)
    if name == "files.arrow":  # this manifest has no list of files
        content = json.loads((output / "manifest.json").read_text()) | {"files": None, "fingerprint": "another"}
        (output / "manifest.json").write_text(json.dumps(content))
    replace_by_pipe(output / name)
    run = cli("predict", images, "--output", output)
    assert run.code in (73, 74)
    assert len(run.stderr.splitlines()) == 1
    assert (output / name).is_fifo()
