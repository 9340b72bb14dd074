"""A run killed, or refused by the disk, at each of its writes: a complete set or none, and the next start completes it.

All of them take most of an hour: `make torture`. Here the middle and the last of each,
unless MNIST_BATCH_TORTURE is set.
"""

import os
import re
import shutil
import subprocess
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from reliability.readers import FAKE_JOB, parts_of, set_in

SYSCALLS = ["openat", "write", "pwrite64", "fsync", "rename", "unlink", "unlinkat", "mkdir", "rmdir", "ftruncate"]
EVERY = "MNIST_BATCH_TORTURE" in os.environ
ROWS_PER_PART = "14"  # 303 rows in 22 parts


def traced_or_skip():
    strace = shutil.which("strace")
    works = strace and subprocess.run([strace, "-o", os.devnull, "true"], check=False).returncode == 0
    if not works:
        pytest.skip("needs strace and the right to trace processes")
    return strace


@pytest.fixture(scope="module")
def strace():
    return traced_or_skip()


@pytest.fixture(scope="module")
def digits(sample_data, tmp_path_factory) -> Path:
    """The sample digits with three damaged ones among them, so that there are rejects in three parts."""
    path = tmp_path_factory.mktemp("input") / "digits.zip"
    with zipfile.ZipFile(sample_data / "digits.zip") as good, zipfile.ZipFile(path, "w") as archive:
        for row, name in enumerate(good.namelist()):
            archive.writestr(name, good.read(name))
            if row in (5, 100, 299):
                archive.writestr(f"damaged_{row}.png", good.read(name)[:-9])
    return path


def start(digits, output, *options, before=(), rows_per_part=ROWS_PER_PART):
    command = [*before, *FAKE_JOB, str(digits), "--output", str(output), "--rows-per-part", rows_per_part, *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture(scope="module")
def reference(digits, tmp_path_factory):
    output = tmp_path_factory.mktemp("reference") / "out"
    assert start(digits, output).returncode == 0
    parts = set_in(output)
    assert len(parts) == 25
    return parts


@pytest.fixture(scope="module")
def older(digits, tmp_path_factory):
    """A complete set of another run, for `--overwrite`."""
    output = tmp_path_factory.mktemp("older") / "out"
    assert start(digits, output, rows_per_part="100").returncode == 0
    return output


@pytest.fixture(scope="module")
def calls(strace, digits, older, tmp_path_factory):
    """Which of a run's system calls, counted from 1, change something in the output folder; by `--overwrite`."""
    counts = {}
    for overwrite in (False, True):
        folder = tmp_path_factory.mktemp("counted")
        if overwrite:
            shutil.copytree(older, folder / "out")
        trace = [strace, "-y", "-o", str(folder / "trace"), "-e", f"trace={','.join(SYSCALLS)}"]
        run = start(digits, folder / "out", *(["--overwrite"] if overwrite else []), before=trace)
        assert run.returncode == 0
        counts[overwrite] = numbers_of_changes((folder / "trace").read_text(), folder / "out")
    return counts


def numbers_of_changes(trace, output):
    found, changes = Counter(), {name: [] for name in SYSCALLS}
    for line in trace.splitlines():
        name = line.partition("(")[0]
        found[name] += 1
        if str(output) in line and (name != "openat" or "O_CREAT" in line):
            changes[name].append(found[name])
    return changes


def occurrences(numbers):
    return numbers if EVERY else sorted({*numbers[len(numbers) // 2 :][:1], *numbers[-1:]})


@pytest.mark.parametrize("fault", ["signal=KILL", "error=EIO"])
@pytest.mark.parametrize("overwrite", [False, True], ids=["first commit", "overwrite"])
@pytest.mark.parametrize("syscall", SYSCALLS)
def test_a_fault_at_any_write_leaves_a_set_or_none_and_the_next_start_completes(
    syscall, overwrite, fault, strace, calls, digits, reference, older, tmp_path
):
    options = ["--overwrite"] if overwrite else []

    def fresh(name):
        if overwrite:
            shutil.copytree(older, tmp_path / name)
        return tmp_path / name

    assert calls[overwrite][syscall]
    for number in occurrences(calls[overwrite][syscall]):
        output = fresh(f"{syscall}-{number}")
        inject = [strace, "-o", os.devnull, "-e", f"trace={syscall}", "-e", f"inject={syscall}:{fault}:when={number}"]
        run = start(digits, output, *options, before=inject)
        assert set_in(output) in (None, reference, *([set_in(older)] if overwrite else [])), f"{syscall} {number}"
        if fault == "error=EIO":
            assert run.returncode in (0, 73, 74), f"{syscall} {number}: {run}"
            assert "Traceback" not in run.stderr, f"{syscall} {number}: {run.stderr}"
        again = start(digits, output, *options)
        assert again.returncode == 0, f"{syscall} {number}: {again.stderr}"
        assert set_in(output) == reference, f"{syscall} {number}"
        assert not (output / "_work").exists(), f"{syscall} {number}"
        shutil.rmtree(output)


def test_every_file_is_synced_before_and_its_folder_after_it_gets_its_name(strace, digits, tmp_path):
    trace = tmp_path / "trace"
    start(digits, tmp_path / "out", before=[strace, "-y", "-o", str(trace), "-e", "trace=fsync,rename"])
    events = re.findall(r'^(fsync)\(\d+<(.*?)>\)|^rename\("(.*?)", "(.*?)"\)', trace.read_text(), re.MULTILINE)
    renamed = 0
    for before, event, after in zip(events, events[1:], events[2:], strict=False):
        _, _, source, target = event
        if source.endswith(".tmp"):
            renamed += 1
            assert before[:2] == ("fsync", source)
            assert after[:2] == ("fsync", str(Path(target).parent))
    assert renamed >= 22 * 2 + 6


def test_parts_of_the_reference_hold_the_rejects_too(reference):
    assert sum(name.startswith("rejects/") for name in reference) == 3


def test_a_set_whose_part_is_gone_is_not_taken_for_complete(digits, tmp_path):
    start(digits, tmp_path / "out")
    (tmp_path / "out" / "predictions" / "part-00003.parquet").unlink()
    run = start(digits, tmp_path / "out")
    assert run.returncode == 73
    assert "parts of it are missing" in run.stderr
    assert start(digits, tmp_path / "out", "--overwrite").returncode == 0
    assert len(parts_of(tmp_path / "out")) == 25
