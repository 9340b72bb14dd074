"""After a full disk or a disk error, the run exits with 74 and one line, and the next start completes it."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from reliability.readers import FAKE_JOB, mount_disk, parts_of, set_in
from reliability.test_killed import find_strace


def start(folder: Path, output: Path, tracer: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    """Scores the sample digits in `folder` with the fake job."""
    command = [*tracer, *FAKE_JOB, str(folder / "digits-images-idx3-ubyte"), "-o", str(output)]
    return subprocess.run([*command, "--rows-per-part", "14"], capture_output=True, text=True, check=False)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 128 KB."""
    disk = tmp_path / "disk"
    with mount_disk(disk, "128k"):
        yield disk


def test_full_disk_exits_74_then_completes(small_disk: Path, sample_data: Path, tmp_path: Path) -> None:
    assert start(sample_data, tmp_path / "reference").returncode == 0
    filler = small_disk / "filler"
    filler.write_bytes(bytes(64 * 1024))
    run = start(sample_data, small_disk / "out")
    assert run.returncode == 74
    assert len(run.stderr.splitlines()) == 1
    assert "No space left on device; free some disk space and start again" in run.stderr
    assert set_in(small_disk / "out") is None
    filler.unlink()
    subprocess.run(["mount", "-o", "remount,size=1m", str(small_disk)], check=True)
    assert start(sample_data, small_disk / "out").returncode == 0
    assert set_in(small_disk / "out") == parts_of(tmp_path / "reference")


def test_read_error_exits_74_then_completes(sample_data: Path, tmp_path: Path) -> None:
    strace = find_strace()
    assert start(sample_data, tmp_path / "reference").returncode == 0
    images = str(shutil.copy(sample_data / "digits-images-idx3-ubyte", tmp_path))
    shutil.copy(sample_data / "digits-labels-idx1-ubyte", tmp_path)
    # The first reads belong to planning: first bytes, header, size. The sixth reads rows of a shard.
    inject = [strace, "-f", "-o", os.devnull, "-P", images, "-e", "trace=read", "-e", "inject=read:error=EIO:when=6"]
    run = start(tmp_path, tmp_path / "out", tracer=inject)
    assert run.returncode == 74, run.stderr
    assert len(run.stderr.splitlines()) == 1
    assert start(tmp_path, tmp_path / "out").returncode == 0
    assert len(set_in(tmp_path / "out") or ()) == 22
