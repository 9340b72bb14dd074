"""Signals end a run within seconds and keep its state. Most tests run the real program with TensorFlow."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from reliability.readers import FAKE_JOB, parts_of, set_in

LIMIT_SECONDS = 10


@pytest.fixture(scope="module")
def digits(sample_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """15,000 rows: the sample digits fifty times."""
    pixels = (sample_data / "digits-images-idx3-ubyte").read_bytes()[16:]
    path = tmp_path_factory.mktemp("input") / "digits.idx"
    path.write_bytes(b"\0\0\x08\x03" + (15_000).to_bytes(4, "big") + (28).to_bytes(4, "big") * 2 + pixels * 50)
    return path


def command(
    digits: Path, output: Path, program: Sequence[str] = (sys.executable, "-m", "mnist_batch", "predict")
) -> list[str]:
    return [*program, str(digits), "-o", str(output), "--rows-per-part", "250", "--json"]


@pytest.fixture(scope="module")
def reference(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The parts of a run that was not interrupted."""
    output = tmp_path_factory.mktemp("reference") / "out"
    subprocess.run(command(digits, output), check=True, capture_output=True)
    return parts_of(output)


@pytest.fixture(autouse=True)
def _signals_are_not_ignored() -> Iterator[None]:
    """Restores signals that these tests ignore, and so would their children: as a background job, or under nohup."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGHUP, signal.SIGQUIT)}
    before[signal.SIGINT] = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def run_and_signal(
    command: Sequence[str], number: signal.Signals, is_time: Callable[[], bool]
) -> tuple[int, dict[str, Any], str]:
    """Starts a program and sends it a signal once `is_time()`. Returns its exit code, `--json` object and stderr."""
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not is_time():
        assert run.poll() is None, run.communicate()
        time.sleep(0.005)
    run.send_signal(number)
    out, err = run.communicate(timeout=LIMIT_SECONDS)
    return run.returncode, json.loads(out.splitlines()[-1]), err


SLOW = pytest.mark.slow


# Imports Typer slowly, so that a signal comes before the program has started to wait for it.
SLOW_START = """
import builtins, time
from mnist_batch.cli import entry
load = builtins.__import__
def load_slowly(name, *rest):
    time.sleep(0.5 if name == "typer" else 0)
    return load(name, *rest)
builtins.__import__ = load_slowly
print("begun", flush=True)
entry.run("predict")
"""


def test_signal_while_the_program_is_imported_is_not_lost(sample_data: Path, tmp_path: Path) -> None:
    start = command(sample_data / "digits.zip", tmp_path / "out", (sys.executable, "-c", SLOW_START))
    run = subprocess.Popen(start, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert run.stdout is not None
    assert run.stdout.readline() == "begun\n"
    time.sleep(0.1)
    run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=LIMIT_SECONDS)
    assert run.returncode == 130, err
    assert json.loads(out.splitlines()[-1])["exit_code"] == 130
    assert err == "mnist-batch: interrupted, what was done is kept: start it again and it continues\n"


@pytest.mark.parametrize(
    ("number", "code"),
    [
        pytest.param(signal.SIGINT, 130, marks=SLOW),
        (signal.SIGTERM, 143),
        pytest.param(signal.SIGHUP, 129, marks=SLOW),
        pytest.param(signal.SIGQUIT, 131, marks=SLOW),
        pytest.param(signal.SIGXCPU, 152, marks=SLOW),
    ],
)
def test_signal_while_scoring_keeps_state(
    number: signal.Signals, code: int, digits: Path, reference: dict[str, str], tmp_path: Path
) -> None:
    shards = tmp_path / "out" / "_work" / "shards"
    exit_code, outcome, err = run_and_signal(
        command(digits, tmp_path / "out"), number, lambda: shards.is_dir() and any(shards.glob("*.json.gz"))
    )
    assert (exit_code, outcome["exit_code"]) == (code, code)
    assert err.splitlines()[-1] == f"mnist-batch: {outcome['error']}"
    assert set_in(tmp_path / "out") is None
    again = subprocess.run(command(digits, tmp_path / "out"), check=True, capture_output=True, text=True)
    assert json.loads(again.stdout)["status"] == "done"
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["resumed_shards"] > 0
    assert set_in(tmp_path / "out") == reference


@pytest.mark.slow
def test_signal_before_scoring_ends_the_run(digits: Path, tmp_path: Path) -> None:
    run_file = tmp_path / "out" / "_work" / "run.json"
    exit_code, outcome, _ = run_and_signal(command(digits, tmp_path / "out"), signal.SIGTERM, run_file.exists)
    assert (exit_code, outcome["exit_code"]) == (143, 143)


@pytest.mark.slow
def test_signal_in_training_leaves_nothing(sample_data: Path, tmp_path: Path) -> None:
    for name in ("train", "t10k"):
        for kind in ("images-idx3", "labels-idx1"):
            source = sample_data / f"digits-{kind}-ubyte"
            (tmp_path / f"{name}-{kind}-ubyte").write_bytes(source.read_bytes())
    model = tmp_path / "model"
    training = [sys.executable, "-m", "mnist_batch", "train", "--data", str(tmp_path), "--output", str(model), "--json"]
    exit_code, outcome, err = run_and_signal(
        [*training, "--epochs", "100000"], signal.SIGTERM, lambda: any(tmp_path.glob(".mnist-batch-train-*"))
    )
    assert (exit_code, outcome["exit_code"]) == (143, 143)
    assert outcome["error"] == "interrupted, nothing was written: start it again"
    assert err.splitlines()[-1] == f"mnist-batch: {outcome['error']}"
    subprocess.run([*training, "--epochs", "1"], check=True, capture_output=True)
    assert sorted(path.name for path in model.iterdir())[0] == "model_mnist"
    assert not any(tmp_path.glob(".mnist-batch-train-*"))


@pytest.mark.slow
def test_slow_unwinding_is_cut_short() -> None:
    code = """if True:
        import os, signal, time
        from mnist_batch.errors import InterruptedRun
        from mnist_batch.cli.interrupts import Interrupts
        interrupts = Interrupts(lambda error: print(error, flush=True), "for a test")
        interrupts.start()
        os.kill(os.getpid(), signal.SIGTERM)
        try:
            while True:
                interrupts.check_interrupted()
        except InterruptedRun:
            time.sleep(60)
    """
    run = subprocess.run(
        [sys.executable, "-c", code], timeout=LIMIT_SECONDS, capture_output=True, text=True, check=False
    )
    assert run.returncode == 143
    assert run.stdout.startswith("interrupted")


def test_limit_on_processor_time_ends_the_run(digits: Path, tmp_path: Path) -> None:
    limited = ["sh", "-c", """ulimit -S -t 1; exec "$@\"""", "sh", *command(digits, tmp_path / "out")]
    run = subprocess.run(limited, capture_output=True, text=True, check=False, timeout=60)
    outcome = json.loads(run.stdout.splitlines()[-1])
    assert (run.returncode, outcome["exit_code"]) == (152, 152)
    assert len(run.stderr.splitlines()) == 1


def test_terminal_that_goes_away_does_not_end_a_run(digits: Path, tmp_path: Path) -> None:
    """As in a shell that was told to ignore SIGHUP (`trap '' HUP`) and is then closed."""
    terminal, own_end = pty.openpty()
    ignoring = [
        "sh",
        "-c",
        """trap '' HUP; exec setsid "$@\"""",
        "sh",
        *command(digits, tmp_path / "out", FAKE_JOB)[:-1],
    ]
    environment = os.environ | {"FAKE_SECONDS": "0.02"}
    run = subprocess.Popen(ignoring, stdin=own_end, stdout=own_end, stderr=own_end, env=environment)
    os.close(own_end)
    while b" of 15,000" not in os.read(terminal, 1 << 16):
        assert run.poll() is None
    os.close(terminal)
    assert run.wait(60) == 0
    assert set_in(tmp_path / "out") is not None


def test_ignored_signal_stays_ignored(digits: Path, tmp_path: Path) -> None:
    ignoring = ["sh", "-c", """trap '' INT; exec "$@\"""", "sh", *command(digits, tmp_path / "out", FAKE_JOB)]
    run_file = tmp_path / "out" / "_work" / "run.json"
    run = subprocess.Popen(ignoring, stdout=subprocess.PIPE, text=True)
    while not run_file.exists():
        assert run.poll() is None
    run.send_signal(signal.SIGINT)
    out, _ = run.communicate(timeout=60)
    assert (run.returncode, json.loads(out)["status"]) == (0, "done")


def test_hanging_operation_is_not_waited_for(digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_SECONDS", "60")
    run_file = tmp_path / "out" / "_work" / "run.json"
    exit_code, outcome, err = run_and_signal(
        command(digits, tmp_path / "out", FAKE_JOB), signal.SIGTERM, run_file.exists
    )
    assert (exit_code, outcome["exit_code"]) == (143, 143)
    assert len(err.splitlines()) == 1
