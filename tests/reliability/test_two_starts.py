"""One run at a time in an output folder, whoever starts them and however they end."""

import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys

import pytest

from mnist_batch.errors import LockedError, OutputError
from mnist_batch.output.lock import hold_lock
from reliability.readers import FAKE_JOB, set_in

TIMES = 50 if "MNIST_BATCH_TORTURE" in os.environ else 8


def command(sample_data, output):
    return [*FAKE_JOB, str(sample_data / "digits.zip"), "-o", str(output), "--rows-per-part", "30", "--json"]


def test_of_two_starts_at_once_exactly_one_scores(sample_data, tmp_path):
    for time in range(TIMES):
        output = tmp_path / str(time)
        runs = [
            subprocess.Popen(command(sample_data, output), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            for _ in range(2)
        ]
        ends = [json.loads(run.communicate(timeout=60)[0]) for run in runs]
        assert sorted(end["status"] for end in ends) in (["already_done", "done"], ["done", "failed"])
        for run, end, other in zip(runs, ends, reversed(runs), strict=True):
            if end["status"] == "failed":
                assert (run.returncode, end["exit_code"]) == (75, 75)
                assert f"process {other.pid} on {socket.gethostname()}, started 20" in end["error"]
        assert len(set_in(output)) == 10


def test_the_second_start_is_told_who_holds_the_folder(tmp_path):
    with hold_lock(tmp_path), pytest.raises(LockedError) as image_error, hold_lock(tmp_path):
        pass
    assert image_error.value.exit_code == 75
    assert f"process {os.getpid()} on {socket.gethostname()}, started 20" in str(image_error.value)


def test_the_lock_of_a_dead_process_hinders_nobody(sample_data, tmp_path):
    run = subprocess.Popen(command(sample_data, tmp_path / "out"), env=os.environ | {"FAKE_SECONDS": "30"})
    while not (tmp_path / "out" / "_work" / "run.json").exists():
        assert run.poll() is None
    run.kill()
    run.wait()
    assert (tmp_path / "out" / ".lock").read_text()
    assert subprocess.run(command(sample_data, tmp_path / "out"), capture_output=True, check=False).returncode == 0


def test_a_lock_file_that_somebody_deletes_lets_no_second_run_in(tmp_path):
    with hold_lock(tmp_path):
        (tmp_path / ".lock").unlink()
        with pytest.raises(LockedError), hold_lock(tmp_path):
            pass
    with hold_lock(tmp_path):
        pass


def test_a_program_started_by_the_run_does_not_keep_its_lock(tmp_path):
    with hold_lock(tmp_path):
        program = [sys.executable, "-c", "print('started', flush=True); input()"]
        child = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, close_fds=False)
        assert child.stdout.readline() == b"started\n"
    with hold_lock(tmp_path):
        pass
    child.communicate(b"\n", timeout=60)


def test_a_child_forked_by_the_run_does_not_keep_its_lock(tmp_path):
    code = """if True:
        import os, pathlib, sys, time
        from mnist_batch.output.lock import locked
        with locked(pathlib.Path(sys.argv[1])):
            if os.fork():
                os._exit(1)  # as if it was killed
            print(os.getpid(), flush=True)
            time.sleep(60)
    """
    run = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    child = int(run.stdout.readline())
    run.wait()
    try:
        with hold_lock(tmp_path):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        run.stdout.close()


def test_a_foreign_folder_is_left_as_it_is(sample_data, tmp_path):
    (tmp_path / "predictions").mkdir()
    run = subprocess.run(command(sample_data, tmp_path), capture_output=True, text=True, check=False)
    assert run.returncode == 73
    assert [path.name for path in tmp_path.iterdir()] == ["predictions"]


def test_a_file_system_without_flock_is_73(tmp_path, monkeypatch):
    def unsupported(*_):
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with pytest.raises(OutputError, match="must lie on a file system with flock"), hold_lock(tmp_path):
        pass
