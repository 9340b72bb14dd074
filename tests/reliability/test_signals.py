"""SIGINT and SIGTERM end a run soon, with its state kept; real processes, real TensorFlow."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from reliability.readers import FAKE_JOB, parts_of, set_in

LIMIT_SECONDS = 10


@pytest.fixture(scope="module")
def digits(sample_data, tmp_path_factory):
    """15,000 rows: the sample digits, fifty times."""
    pixels = (sample_data / "digits-images-idx3-ubyte").read_bytes()[16:]
    path = tmp_path_factory.mktemp("input") / "digits.idx"
    path.write_bytes(b"\0\0\x08\x03" + (15_000).to_bytes(4, "big") + (28).to_bytes(4, "big") * 2 + pixels * 50)
    return path


def command(digits, output, program=(sys.executable, "-m", "mnist_batch", "predict")):
    return [*program, str(digits), "-o", str(output), "--rows-per-part", "250", "--json"]


@pytest.fixture(scope="module")
def reference(digits, tmp_path_factory):
    output = tmp_path_factory.mktemp("reference") / "out"
    subprocess.run(command(digits, output), check=True, capture_output=True)
    return parts_of(output)


@pytest.fixture(autouse=True)
def sigint_is_not_ignored():
    """As it is in a shell's background job, and then in what that starts: these tests may run in one."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def signalled(command, number, is_time):
    """Starts a program, sends it the signal when it is time, and returns how it ended."""
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not is_time():
        assert run.poll() is None, run.communicate()
        time.sleep(0.005)
    run.send_signal(number)
    out, err = run.communicate(timeout=LIMIT_SECONDS)
    return run.returncode, json.loads(out.splitlines()[-1]), err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_scoring_keeps_what_was_done_and_the_next_start_ends_with_the_same_bytes(
    number, code, digits, reference, tmp_path
):
    shards = tmp_path / "out" / "_work" / "shards"
    ended, said, err = signalled(
        command(digits, tmp_path / "out"), number, lambda: shards.is_dir() and any(shards.glob("*.json"))
    )
    assert (ended, said["exit_code"]) == (code, code)
    assert err.splitlines()[-1] == f"mnist-batch: {said['error']}"
    assert set_in(tmp_path / "out") is None
    again = subprocess.run(command(digits, tmp_path / "out"), check=True, capture_output=True, text=True)
    assert json.loads(again.stdout)["status"] == "done"
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["resumed_shards"] > 0
    assert set_in(tmp_path / "out") == reference


def test_a_signal_before_scoring_begins_ends_the_run_too(digits, tmp_path):
    interrupted_run = tmp_path / "out" / "_work" / "run.json"
    ended, said, _ = signalled(command(digits, tmp_path / "out"), signal.SIGTERM, interrupted_run.exists)
    assert (ended, said["exit_code"]) == (143, 143)


def test_a_signal_ends_a_training_says_that_nothing_is_left_and_leaves_nothing(sample_data, tmp_path):
    for name in ("train", "t10k"):
        for kind in ("images-idx3", "labels-idx1"):
            source = sample_data / f"digits-{kind}-ubyte"
            (tmp_path / f"{name}-{kind}-ubyte").write_bytes(source.read_bytes())
    model = tmp_path / "model"
    training = [sys.executable, "-m", "mnist_batch", "train", "--data", str(tmp_path), "--output", str(model), "--json"]
    ended, said, err = signalled(
        [*training, "--epochs", "100000"], signal.SIGTERM, lambda: any(tmp_path.glob(".mnist-batch-train-*"))
    )
    assert (ended, said["exit_code"]) == (143, 143)
    assert said["error"] == "interrupted, nothing was written: start it again"
    assert err.splitlines()[-1] == f"mnist-batch: {said['error']}"
    subprocess.run([*training, "--epochs", "1"], check=True, capture_output=True)
    assert sorted(path.name for path in model.iterdir())[0] == "model_mnist"
    assert not any(tmp_path.glob(".mnist-batch-train-*"))


def test_a_way_out_that_takes_too_long_is_cut_short():
    code = """if True:
        import os, signal, time
        from mnist_batch.errors import InterruptedRun
        from mnist_batch.cli.interrupts import Interrupts
        interrupts = Interrupts(lambda error: print(error, flush=True), "for a test")
        interrupts.start()
        os.kill(os.getpid(), signal.SIGTERM)
        try:
            while True:
                interrupts.check()
        except InterruptedRun:
            time.sleep(60)
    """
    run = subprocess.run(
        [sys.executable, "-c", code], timeout=LIMIT_SECONDS, capture_output=True, text=True, check=False
    )
    assert run.returncode == 143
    assert run.stdout.startswith("interrupted")


def test_a_signal_that_the_program_was_started_to_ignore_is_ignored(digits, tmp_path):
    ignoring = ["sh", "-c", """trap '' INT; exec "$@\"""", "sh", *command(digits, tmp_path / "out", FAKE_JOB)]
    interrupted_run = tmp_path / "out" / "_work" / "run.json"
    run = subprocess.Popen(ignoring, stdout=subprocess.PIPE, text=True)
    while not interrupted_run.exists():
        assert run.poll() is None
    run.send_signal(signal.SIGINT)
    out, _ = run.communicate(timeout=60)
    assert (run.returncode, json.loads(out)["status"]) == (0, "done")


def test_an_operation_that_does_not_return_is_not_waited_for(digits, tmp_path, monkeypatch):
    monkeypatch.setitem(os.environ, "FAKE_SECONDS", "60")
    interrupted_run = tmp_path / "out" / "_work" / "run.json"
    ended, said, err = signalled(command(digits, tmp_path / "out", FAKE_JOB), signal.SIGTERM, interrupted_run.exists)
    assert (ended, said["exit_code"]) == (143, 143)
    assert len(err.splitlines()) == 1
