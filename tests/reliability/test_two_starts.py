"""Only one run at a time uses an output folder, no matter who starts the runs and how they end."""

import errno
import fcntl
import json
import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from mnist_batch.errors import LockedError, OutputError, StorageError
from mnist_batch.output import lock
from mnist_batch.output.lock import hold_lock
from reliability.readers import FAKE_JOB, set_in

REPEATS = 50 if "MNIST_BATCH_TORTURE" in os.environ else 8


def command(sample_data: Path, output: Path) -> list[str]:
    return [*FAKE_JOB, str(sample_data / "digits.zip"), "-o", str(output), "--rows-per-part", "30", "--json"]


@pytest.mark.slow
def test_one_of_two_starts_scores(sample_data: Path, tmp_path: Path) -> None:
    for repeat in range(REPEATS):
        output = tmp_path / str(repeat)
        runs = [
            subprocess.Popen(command(sample_data, output), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            for _ in range(2)
        ]
        outcomes = [json.loads(run.communicate(timeout=60)[0]) for run in runs]
        assert sorted(outcome["status"] for outcome in outcomes) in (["already_done", "done"], ["done", "failed"])
        for run, outcome, other in zip(runs, outcomes, reversed(runs), strict=True):
            if outcome["status"] == "failed":
                assert (run.returncode, outcome["exit_code"]) == (75, 75)
                assert f"process {other.pid} on {socket.gethostname()}, started 20" in outcome["error"]
        assert len(set_in(output) or ()) == 10


def test_second_start_names_the_holder(tmp_path: Path) -> None:
    with hold_lock(tmp_path), pytest.raises(LockedError) as caught, hold_lock(tmp_path):
        pass
    assert caught.value.exit_code == 75
    assert f"process {os.getpid()} on {socket.gethostname()}, started 20" in str(caught.value)


def test_lock_of_a_dead_process_is_free(sample_data: Path, tmp_path: Path) -> None:
    run = subprocess.Popen(command(sample_data, tmp_path / "out"), env=os.environ | {"FAKE_SECONDS": "30"})
    while not (tmp_path / "out" / "_work" / "run.json").exists():
        assert run.poll() is None
    run.kill()
    run.wait()
    assert (tmp_path / "out" / ".lock").read_text()
    assert subprocess.run(command(sample_data, tmp_path / "out"), capture_output=True, check=False).returncode == 0


def test_deleted_lock_file_still_locks(tmp_path: Path) -> None:
    with hold_lock(tmp_path):
        (tmp_path / ".lock").unlink()
        with pytest.raises(LockedError), hold_lock(tmp_path):
            pass
    with hold_lock(tmp_path):
        pass


def test_folder_that_cannot_be_locked_is_locked_by_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on NFS. If the file is replaced between opening and locking it, the new one is locked."""
    flock, replaced = fcntl.flock, list[int]()

    def lock_files_only(descriptor: int, operation: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        if not replaced:
            replaced.append(descriptor)
            (tmp_path / ".lock").unlink()
            (tmp_path / ".lock").touch()
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", lock_files_only)
    with hold_lock(tmp_path):
        assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()
        with pytest.raises(LockedError, match=f"process {os.getpid()}"), hold_lock(tmp_path):
            pass


def test_lock_that_is_always_replaced_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flock = fcntl.flock

    def replace_and_lock(descriptor: int, operation: int) -> None:
        (tmp_path / ".lock").unlink(missing_ok=True)
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", replace_and_lock)
    with (
        pytest.raises(LockedError, match="must not be replaced while runs start, was replaced 10 times"),
        hold_lock(tmp_path),
    ):
        pass


@pytest.mark.parametrize(
    ("code", "kind", "message"),
    [
        (errno.ENOSPC, StorageError, "must be written, but: No space left on device; fix that"),
        (errno.EDQUOT, StorageError, "must be written, but: Disk quota exceeded; fix that"),
        (errno.EIO, StorageError, "must be written, but: Input/output error; fix that"),
        (errno.EROFS, OutputError, "must be a writable folder, but: Read-only file system; choose another"),
        (errno.EACCES, OutputError, "must be a writable folder, but: Permission denied; choose another"),
        (errno.ENOLCK, OutputError, "must be on a file system with flock"),
        (errno.ENOSYS, OutputError, "must be on a file system with flock"),
    ],
)
def test_lock_that_cannot_be_written_says_why(
    code: int, kind: type[Exception], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> NoReturn:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.raises(kind, match=message), hold_lock(tmp_path):
        pass


def test_holder_is_known_once_it_has_written_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "_NAMING_SECONDS", 0.2)
    path = tmp_path / ".lock"
    assert lock._describe_holder(path) == "another process"
    path.write_text("{}")
    assert lock._describe_holder(path) == "another process"
    path.write_text(json.dumps({"host": "elsewhere", "pid": 7, "started": "now"}))
    assert lock._describe_holder(path) == "process 7 on elsewhere, started now,"
    dead = subprocess.Popen(["true"])
    dead.wait()
    path.write_text(json.dumps({"host": socket.gethostname(), "pid": dead.pid, "started": "then"}))
    assert lock._describe_holder(path) == f"process {dead.pid} on {socket.gethostname()}, started then,"


def test_child_program_does_not_keep_lock(tmp_path: Path) -> None:
    with hold_lock(tmp_path):
        program = [sys.executable, "-c", "print('started', flush=True); input()"]
        child = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, close_fds=False)
        assert child.stdout is not None
        assert child.stdout.readline() == b"started\n"
    with hold_lock(tmp_path):
        pass
    child.communicate(b"\n", timeout=60)


def test_forked_child_does_not_keep_lock(tmp_path: Path) -> None:
    code = """if True:
        import os, pathlib, sys, time
        from mnist_batch.output.lock import hold_lock
        with hold_lock(pathlib.Path(sys.argv[1])):
            if os.fork():
                os._exit(1)  # ends without cleaning up, as if killed
            print(os.getpid(), flush=True)
            time.sleep(60)
    """
    run = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    child = int(run.stdout.readline())
    run.wait()
    try:
        with hold_lock(tmp_path):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        run.stdout.close()


def test_foreign_folder_is_left_unchanged(sample_data: Path, tmp_path: Path) -> None:
    (tmp_path / "predictions").mkdir()
    run = subprocess.run(command(sample_data, tmp_path), capture_output=True, text=True, check=False)
    assert run.returncode == 73
    assert [path.name for path in tmp_path.iterdir()] == ["predictions"]


def test_missing_flock_is_an_output_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*_: object) -> NoReturn:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with pytest.raises(OutputError, match="must be on a file system with flock"), hold_lock(tmp_path):
        pass
