"""`--summary-file`, `--metrics-file` and `--sheet` replace only earlier files of their own kind."""

from __future__ import annotations

import json
import os
import shutil
import stat
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from conftest import Cli
from contracts import DIGITS, write_files, write_idx_pair

OPTIONS = ["--summary-file", "--metrics-file", "--sheet"]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return write_idx_pair(tmp_path / "in")


def command(option: str, path: Path, images: Path, *options: object) -> Sequence[object]:
    if option == "--sheet":
        return ["inspect", images, option, path]
    return ["predict", images, "--output", path.parent / "out", "--quiet", option, path, *options]


@pytest.mark.parametrize("option", OPTIONS)
def test_earlier_file_of_the_same_kind_is_replaced(option: str, images: Path, tmp_path: Path, cli: Cli) -> None:
    path = tmp_path / "file"
    path.touch()  # an empty file may be replaced, too
    assert cli(*command(option, path, images)).code == 0
    first = path.stat().st_ino
    assert path.stat().st_size > 0
    assert cli(*command(option, path, images)).code == 0
    assert path.stat().st_ino != first
    assert sorted(entry.name for entry in tmp_path.iterdir() if entry.name != "out") == ["file", "in"]


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("content", [b"notes\n", b"{}", b'{"rows": 300}', DIGITS.pngs[0], b"# HELP up\nup 1\n", b"\0"])
def test_other_file_is_kept(option: str, content: bytes, images: Path, tmp_path: Path, cli: Cli) -> None:
    write_files(tmp_path, {"file": content})
    run = cli(*command(option, tmp_path / "file", images))
    assert run.code == 73
    assert f"{option} may replace only an earlier" in run.stderr.replace("only earlier", "only an earlier")
    assert (tmp_path / "file").read_bytes() == content
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", OPTIONS[:2])
@pytest.mark.parametrize("what", ["input", "labels", "model", "report", "manifest"])
def test_what_the_run_needs_is_kept(option: str, what: str, images: Path, tmp_path: Path, cli: Cli) -> None:
    labels = Path(shutil.copy(images.with_name("t10k-labels-idx1-ubyte"), tmp_path / "labels"))
    assert cli("predict", images, "--output", tmp_path / "out", "--quiet", "--labels", labels).code == 0
    model = Path(__file__).parents[2] / "mnist_batch/model/bundled/seed/saved_model.pb"
    path = {
        "input": images,
        "labels": labels,
        "model": model,
        "report": tmp_path / "out/report.json",
        "manifest": tmp_path / "out/manifest.json",
    }[what]
    before = path.read_bytes()
    run = cli("predict", images, "--output", tmp_path / "out", "--quiet", "--labels", labels, option, path)
    assert run.code == 73
    assert len(run.stderr.splitlines()) == 1
    assert path.read_bytes() == before


@pytest.mark.parametrize("option", OPTIONS[:2])
@pytest.mark.parametrize("name", ["out/summary.json", "out/predictions/a", "link/a"])
def test_file_in_the_output_is_refused(option: str, name: str, images: Path, tmp_path: Path, cli: Cli) -> None:
    assert cli("predict", images, "--output", tmp_path / "out", "--quiet").code == 0
    (tmp_path / "link").symlink_to("out")
    run = cli("predict", images, "--output", tmp_path / "out", "--quiet", option, tmp_path / name)
    assert run.code == 73
    assert f"{option} must be outside of --output" in run.stderr
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("option", OPTIONS[:2])
def test_file_is_kept_when_the_command_line_is_invalid(option: str, tmp_path: Path, cli: Cli) -> None:
    write_files(tmp_path, {"notes": b"notes"})
    run = cli("predict", "no such input", "--output", tmp_path / "out", "--batch-size", "x", option, tmp_path / "notes")
    assert run.code == 2
    assert (tmp_path / "notes").read_bytes() == b"notes"


@pytest.mark.parametrize("option", OPTIONS)
def test_device_is_written_to(option: str, images: Path, tmp_path: Path, cli: Cli) -> None:
    null = tmp_path / "null"
    null.symlink_to(os.devnull)
    assert cli(*command(option, null, images)).code == 0
    assert null.is_symlink()
    assert stat.S_ISCHR(null.stat().st_mode)


def test_pipe_is_written_to(images: Path, tmp_path: Path, cli: Cli) -> None:
    pipe, received = tmp_path / "pipe", list[bytes]()
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()))
    reader.start()
    assert cli(*command("--summary-file", pipe, images)).code == 0
    reader.join()
    assert json.loads(received[0])["status"] == "done"
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_pipe_without_a_reader_does_not_wait(images: Path, tmp_path: Path, cli: Cli) -> None:
    os.mkfifo(tmp_path / "pipe")
    run = cli(*command("--summary-file", tmp_path / "pipe", images))
    assert run.code == 74
    assert "pipe: must be written, but: No such device or address" in run.stderr
