"""Kills a run, or fails its system call, at each of its writes. Afterwards there is a complete set or none.

The next start completes it. All writes take most of an hour (`make torture`, which sets MNIST_BATCH_TORTURE). Otherwise
these tests take the middle and the last call of each kind.
"""

import os
import re
import shutil
import subprocess
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path

import pytest

from reliability.readers import FAKE_JOB, set_in

SYSCALLS = ["openat", "write", "pwrite64", "fsync", "rename", "unlink", "mkdir", "rmdir", "ftruncate"]
# What may last: another device, a full or read-only or failing disk, missing permissions.
ERRORS = ["EXDEV", "ENOSPC", "EROFS", "EIO", "EACCES", "EPERM"]
ALL_CALLS = "MNIST_BATCH_TORTURE" in os.environ
ROWS_PER_PART = "14"  # 303 rows in 22 parts
# The numbers of some calls, counted from 1, by the name of the system call.
CallNumbers = Mapping[str, Sequence[int]]


def find_strace() -> str:
    """The path of a strace that works. Skips the test if there is none."""
    strace = shutil.which("strace")
    if strace is None or subprocess.run([strace, "-o", os.devnull, "true"], check=False).returncode != 0:
        pytest.skip("needs strace and the right to trace processes")
    return strace


@pytest.fixture(scope="module")
def strace() -> str:
    return find_strace()


@pytest.fixture(scope="module")
def digits(sample_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample digits and three damaged images, so that three parts have rejects."""
    path = tmp_path_factory.mktemp("input") / "digits.zip"
    with zipfile.ZipFile(sample_data / "digits.zip") as good, zipfile.ZipFile(path, "w") as archive:
        for row, name in enumerate(good.namelist()):
            archive.writestr(name, good.read(name))
            if row in (5, 100, 299):
                archive.writestr(f"damaged_{row}.png", good.read(name)[:-9])
    return path


def start(
    digits: Path, output: Path, *options: str, tracer: Sequence[str] = (), rows_per_part: str = ROWS_PER_PART
) -> subprocess.CompletedProcess[str]:
    """Runs the fake job, under `tracer` if one is given."""
    command = [*tracer, *FAKE_JOB, str(digits), "--output", str(output), "--rows-per-part", rows_per_part, *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture(scope="module")
def reference(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The parts of a run that nothing disturbed."""
    output = tmp_path_factory.mktemp("reference") / "out"
    assert start(digits, output).returncode == 0
    parts = set_in(output)
    assert parts is not None
    assert len(parts) == 25
    return parts


@pytest.fixture(scope="module")
def older(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete set of another run, for `--overwrite`."""
    output = tmp_path_factory.mktemp("older") / "out"
    assert start(digits, output, rows_per_part="100").returncode == 0
    return output


@pytest.fixture(scope="module")
def calls(
    strace: str, digits: Path, older: Path, tmp_path_factory: pytest.TempPathFactory
) -> Mapping[bool, CallNumbers]:
    """The system calls of a run that change something in the output folder, by whether the run overwrites."""
    calls = {}
    for overwrite in (False, True):
        folder = tmp_path_factory.mktemp("traced")
        if overwrite:
            shutil.copytree(older, folder / "out")
        trace = [strace, "-y", "-o", str(folder / "trace"), "-e", f"trace={','.join(SYSCALLS)}"]
        run = start(digits, folder / "out", *(["--overwrite"] if overwrite else []), tracer=trace)
        assert run.returncode == 0
        calls[overwrite] = find_changes((folder / "trace").read_text(), folder / "out")
    return calls


def find_changes(trace: str, output: Path) -> CallNumbers:
    """The calls in a trace that change something in the output folder."""
    counts: Counter[str] = Counter()
    changes: dict[str, list[int]] = {name: [] for name in SYSCALLS}
    for line in trace.splitlines():
        name = line.partition("(")[0]
        counts[name] += 1
        if str(output) in line and (name != "openat" or "O_CREAT" in line):
            changes[name].append(counts[name])
    return changes


def select_calls(numbers: Sequence[int]) -> Sequence[int]:
    """All calls, or the middle and the last one."""
    return numbers if ALL_CALLS else sorted({*numbers[len(numbers) // 2 :][:1], *numbers[-1:]})


def inject(strace: str, syscall: str, fault: str) -> Sequence[str]:
    """The tracer that injects a fault into some calls."""
    return [strace, "-o", os.devnull, "-e", f"trace={syscall}", "-e", f"inject={syscall}:{fault}"]


def check_next_start_completes(
    digits: Path, output: Path, reference: dict[str, str], options: Sequence[str], where: str
) -> None:
    again = start(digits, output, *options)
    assert again.returncode == 0, f"{where}: {again.stderr}"
    assert set_in(output) == reference, where
    assert not (output / "_work").exists(), where
    shutil.rmtree(output)


QUICK_FAULTS = [("rename", False, "signal=KILL"), ("fsync", True, "error=EIO")]
FAULTS = [
    pytest.param(
        *fault,
        id=f"{fault[0]}-{'overwrite' if fault[1] else 'first commit'}-{fault[2]}",
        marks=[] if fault in QUICK_FAULTS else pytest.mark.slow,
    )
    for fault in product(SYSCALLS, [False, True], ["signal=KILL", "error=EIO"])
]


@pytest.mark.parametrize(("syscall", "overwrite", "fault"), FAULTS)
def test_next_start_completes_after_fault(
    syscall: str,
    overwrite: bool,
    fault: str,
    strace: str,
    calls: Mapping[bool, CallNumbers],
    digits: Path,
    reference: dict[str, str],
    older: Path,
    tmp_path: Path,
) -> None:
    options = ["--overwrite"] if overwrite else []
    assert calls[overwrite][syscall]
    for number in select_calls(calls[overwrite][syscall]):
        output = tmp_path / f"{syscall}-{number}"
        if overwrite:
            shutil.copytree(older, output)
        run = start(digits, output, *options, tracer=inject(strace, syscall, f"{fault}:when={number}"))
        assert set_in(output) in (None, reference, *([set_in(older)] if overwrite else [])), f"{syscall} {number}"
        if fault == "error=EIO":
            assert run.returncode in (0, 73, 74), f"{syscall} {number}: {run}"
            assert "Traceback" not in run.stderr, f"{syscall} {number}: {run.stderr}"
        check_next_start_completes(digits, output, reference, options, f"{syscall} {number}")


@pytest.mark.slow
@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("syscall", [name for name in SYSCALLS if name != "openat"])
def test_next_start_completes_once_a_lasting_fault_is_gone(
    syscall: str,
    error: str,
    strace: str,
    calls: Mapping[bool, CallNumbers],
    digits: Path,
    reference: dict[str, str],
    older: Path,
    tmp_path: Path,
) -> None:
    """From one call on, every call fails in the same way."""
    for number in select_calls(calls[True][syscall]):
        output = tmp_path / f"{syscall}-{number}"
        shutil.copytree(older, output)
        tracer = inject(strace, syscall, f"error={error}:when={number}+")
        run = start(digits, output, "--overwrite", tracer=tracer)
        assert run.returncode in (73, 74), f"{syscall} {number}: {run}"
        assert "Traceback" not in run.stderr, f"{syscall} {number}: {run.stderr}"
        assert set_in(output) in (None, reference, set_in(older)), f"{syscall} {number}"
        check_next_start_completes(digits, output, reference, ["--overwrite"], f"{syscall} {number}")


def test_files_are_fsynced_around_renames(strace: str, digits: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    start(digits, tmp_path / "out", tracer=[strace, "-y", "-o", str(trace), "-e", "trace=fsync,rename"])
    events = re.findall(r'^(fsync)\(\d+<(.*?)>\)|^rename\("(.*?)", "(.*?)"\)', trace.read_text(), re.MULTILINE)
    renamed = 0
    for before, event, after in zip(events, events[1:], events[2:], strict=False):
        _, _, source, target = event
        if source.endswith(".tmp"):
            renamed += 1
            assert before[:2] == ("fsync", source)
            assert after[:2] == ("fsync", str(Path(target).parent))
    assert renamed >= 22 * 2 + 6


# What a commit does, from the journal on. Folders are fsynced after what was renamed in them, before the next step.
COMMIT = [
    "rename _work/.commit.json.tmp _work/commit.json",
    "fsync _work",
    "unlink _SUCCESS",
    "fsync .",
    "mkdir _work/old",
    "rename predictions _work/old/predictions",
    "fsync _work/old",
    "rename _work/predictions predictions",
    "rename rejects _work/old/rejects",
    "fsync _work/old",
    "rename _work/rejects rejects",
    "rename _work/report.json report.json",
    "rename _work/report.html report.html",
    "rename _work/manifest.json manifest.json",
    "fsync .",
    "fsync ._SUCCESS.tmp",
    "rename ._SUCCESS.tmp _SUCCESS",
    "fsync .",
]


def test_commit_has_its_order(strace: str, digits: Path, older: Path, tmp_path: Path) -> None:
    output, trace = tmp_path / "out", tmp_path / "trace"
    shutil.copytree(older, output)
    tracer = [strace, "-y", "-o", str(trace), "-e", "trace=fsync,rename,unlink,rmdir,mkdir"]
    assert start(digits, output, "--overwrite", tracer=tracer).returncode == 0
    events = []
    for line in trace.read_text().splitlines():
        name = line.partition("(")[0]
        paths = [
            os.path.relpath(path, output)
            for path in re.findall(r'"(.*?)"|<(.*?)>', line)[0:2]
            for path in path
            if path.startswith(str(output))
        ]
        if paths and line.endswith(" = 0"):
            events.append(" ".join([name, *paths]))
    first = events.index(COMMIT[0])
    assert events[first : first + len(COMMIT)] == COMMIT
    removals = events[first + len(COMMIT) :]
    assert {event.split()[0] for event in removals} == {"unlink", "rmdir"}
    assert all(event.split()[1].startswith("_work") for event in removals)
    # The journal is removed last, so that an interruption is noticed.
    assert removals[0] == "unlink _work/run.json"
    assert removals[-2:] == ["unlink _work/commit.json", "rmdir _work"]


def test_reference_includes_rejects(reference: dict[str, str]) -> None:
    assert sum(name.startswith("rejects/") for name in reference) == 3
