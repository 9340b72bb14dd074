"""Only one run at a time uses an output folder, no matter who starts the runs and how they end."""

import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from mnist_batch.errors import LockedError, OutputError
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
