"""What a run reports to schedulers: output streams, exit codes, logs, summary files and metrics."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from conftest import Cli
from prometheus_client.parser import text_string_to_metric_families
from reliability.readers import FAKE_JOB

from mnist_batch.cli import console
from mnist_batch.cli.metrics import format_metrics
from mnist_batch.output.lock import hold_lock
from mnist_batch.report.document import Timings
from mnist_batch.run import job

PREDICT = [sys.executable, "-m", "mnist_batch", "predict"]
NOISY = {"TF_CPP_MIN_LOG_LEVEL": "0", "TF_CPP_MAX_VLOG_LEVEL": "1", "PYTHONWARNINGS": "always", "OPENCV_LOG_LEVEL": "V"}


def start_noisy(command: list[str]) -> subprocess.Popen[str]:
    """Starts a program with stdout and stderr in one pipe, and with every library as verbose as possible."""
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | NOISY
    )


OPTIONS = pytest.mark.parametrize(
    "options",
    [
        pytest.param(["--quiet"], id="--quiet", marks=pytest.mark.slow),
        pytest.param(["--json"], id="--json", marks=pytest.mark.slow),
        pytest.param(["--quiet", "--json"], id="both"),
    ],
)


def check_lines(options: list[str], code: int, lines: list[str]) -> None:
    """Checks that all lines are ours: with --json the last is the object, with --quiet only an error has a line."""
    if "--json" in options:
        assert json.loads(lines.pop())["exit_code"] == code
    if "--quiet" in options:
        assert len(lines) == (code not in (0, 75, 99))
    assert all(line.startswith("mnist-batch: ") for line in lines)


@pytest.mark.slow
def test_libraries_are_noisy_by_default() -> None:
    program = "import tensorflow as tf; print(tf.matmul(tf.ones((2, 2)), tf.ones((2, 2))))"
    out, _ = start_noisy([sys.executable, "-c", program]).communicate(timeout=120)
    assert len(out.splitlines()) > 20


@OPTIONS
def test_streams_contain_only_our_own_lines(options: list[str], sample_data: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken-idx3-ubyte"
    broken.write_bytes((sample_data / "digits-images-idx3-ubyte").read_bytes()[:5000])
    good = str(sample_data / "digits")
    for code, arguments in (
        (0, [good]),
        (3, [good, "--min-accuracy", "1"]),
        (65, [str(broken)]),
        (2, [good, "--batch-size", "many"]),
    ):
        run = start_noisy([*PREDICT, *arguments, "-o", str(tmp_path / f"out{code}"), *options])
        lines = run.communicate(timeout=120)[0].splitlines()
        assert run.returncode == code, lines
        check_lines(options, code, lines)


@OPTIONS
def test_sigterm_is_reported_like_an_error(options: list[str], sample_data: Path, tmp_path: Path) -> None:
    interrupted_run = tmp_path / "out" / "_work" / "run.json"
    run = start_noisy([*PREDICT, str(sample_data / "digits.zip"), "-o", str(tmp_path / "out"), *options])
    while not interrupted_run.exists():  # TensorFlow is imported next
        assert run.poll() is None
        time.sleep(0.005)
    run.send_signal(signal.SIGTERM)
    lines = run.communicate(timeout=30)[0].splitlines()
    assert run.returncode == 143
    check_lines(options, 143, lines)


def test_nothing_is_printed_after_the_result() -> None:
    program = "import atexit, os, sys; from mnist_batch.cli.app import run; atexit.register(print, 'late', flush=True);"
    program += "atexit.register(os.write, 1, b'native'); run('models', '--json')"
    run = start_noisy([sys.executable, "-c", program])
    (line,) = run.communicate(timeout=60)[0].splitlines()
    assert json.loads(line)[0]["name"] == "seed"


def test_bug_with_quiet_is_one_line(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(job, "run_job", lambda *_: 1 / 0)
    run = cli("predict", "x", "-o", tmp_path / "out", "--quiet")
    assert (run.code, run.stdout, len(run.stderr.splitlines())) == (70, "", 1)
    assert f"ZeroDivisionError('division by zero') at {__file__}:" in run.stderr


@pytest.mark.parametrize("quiet", [["--quiet"], []])
def test_locked_folder_is_75(quiet: list[str], cli: Cli, sample_data: Path, tmp_path: Path) -> None:
    metrics, summary = tmp_path / "run.prom", tmp_path / "summary.json"
    files = ["--metrics-file", metrics, "--summary-file", summary]
    with hold_lock(tmp_path / "out"):
        run = cli("predict", sample_data / "digits", "-o", tmp_path / "out", *files, *quiet)
    assert (run.code, run.stdout, bool(run.stderr)) == (75, "", not quiet)
    assert json.loads(summary.read_text())["exit_code"] == 75
    assert not metrics.exists()  # the run that holds the lock will write them


@pytest.mark.parametrize("pattern", ["", "/*.png", "/**/*"])
def test_empty_input_may_be_skipped(pattern: str, cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    arguments = ["predict", f"{tmp_path / 'in'}{pattern}", "-o", tmp_path / "out", "--json"]
    assert (cli(*arguments).code, cli(*arguments).json["status"]) == (66, "failed")
    skipped = cli(*arguments, "--on-empty", "skip", "--quiet")
    assert (skipped.code, skipped.stderr, skipped.json["status"]) == (99, "", "skipped")
    assert not (tmp_path / "out" / "predictions").exists()


@pytest.mark.parametrize("missing", ["{0}/no_such_folder", "{0}/no_such_folder/*.png", "{0} --labels {0}/no.csv"])
def test_missing_input_is_not_skipped(missing: str, cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    run = cli("predict", *missing.format(tmp_path).split(), "-o", tmp_path.with_name("out"), "--on-empty", "skip")
    assert run.code == 66


def test_empty_output_option_is_an_error(cli: Cli, sample_data: Path) -> None:
    for command in (["predict", str(sample_data / "digits")], ["train"]):
        run = cli(*command, "-o", "")
        assert (run.code, "--output must name a folder, is empty" in run.stderr) == (2, True)


def test_flags_override_the_environment(
    cli: Cli, sample_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables = {"OUTPUT": tmp_path / "out", "QUIET": "1", "JSON": "true", "FORMAT": "csv", "MIN_ACCURACY": "1"}
    for name, value in variables.items():
        monkeypatch.setenv(f"MNIST_BATCH_PREDICT_{name}", str(value))
    monkeypatch.setenv("MNIST_BATCH_VERSION", "1.2.3")  # a deployment may use it
    run = cli("predict", sample_data / "digits", "--min-accuracy", "0.9")
    assert (run.code, run.stderr, run.json["output"]) == (0, "", str(tmp_path / "out"))
    assert (tmp_path / "out" / "predictions" / "part-00000.csv").exists()
    monkeypatch.setenv("MNIST_BATCH_PREDICT_FORMAT", "xml")
    invalid = cli("predict", sample_data / "digits")
    assert (invalid.code, invalid.json["exit_code"], len(invalid.stderr.splitlines())) == (2, 2, 1)


def test_json_log_has_one_object_per_line(
    cli: Cli, sample_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "Progress", partial(console.Progress, interval=0))
    arguments = ["predict", sample_data / "digits", "-o", tmp_path / "out", "--log-format", "json", "--batch-size", 16]
    run = cli(*arguments, "--min-accuracy", "1")
    *progress, last = (json.loads(line) for line in run.stderr.splitlines())
    assert progress
    assert all((line["level"], line["rows"]) == ("info", 300) for line in progress)
    assert (last["level"], last["message"].split(": ")[0]) == ("error", str(tmp_path / "out"))
    monkeypatch.setattr(job, "run_job", lambda *_: 1 / 0)
    (bug,) = (json.loads(line) for line in cli(*arguments).stderr.splitlines())
    assert "ZeroDivisionError" in bug["traceback"]


def test_summary_file_holds_the_json_object(cli: Cli, sample_data: Path, tmp_path: Path) -> None:
    summary = tmp_path / "return.json"
    arguments = ["predict", sample_data / "digits", "-o", tmp_path / "out", "--summary-file", summary, "--json"]
    for extra, code in (([], 0), (["--min-accuracy", "1"], 3), (["--batch-size", "no"], 2), (["--format", "csv"], 73)):
        run = cli(*arguments, *extra)
        assert (run.code, json.loads(summary.read_text())) == (code, run.json)
    assert [path.name for path in tmp_path.iterdir() if "return" in path.name] == ["return.json"]


def test_signal_writes_summary_and_metrics(sample_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process is ended by the thread that waits for signals, because the run does not react."""
    monkeypatch.setenv("FAKE_SECONDS", "60")
    interrupted_run = tmp_path / "out" / "_work" / "run.json"
    summary, metrics = tmp_path / "s.json", tmp_path / "m.prom"
    files = ["--summary-file", str(summary), "--metrics-file", str(metrics), "--json"]
    run = start_noisy([*FAKE_JOB, str(sample_data / "digits.zip"), "-o", str(tmp_path / "out"), *files])
    while not interrupted_run.exists():
        assert run.poll() is None
        time.sleep(0.005)
    run.send_signal(signal.SIGTERM)
    last = run.communicate(timeout=30)[0].splitlines()[-1]
    assert run.returncode == 143
    assert json.loads(summary.read_text()) == json.loads(last)
    assert read_samples(metrics)["mnist_batch_last_run_exit_code"] == 143


@pytest.mark.parametrize("option", ["--summary-file", "--metrics-file"])
def test_unwritable_file_is_73_at_the_start(option: str, cli: Cli, sample_data: Path, tmp_path: Path) -> None:
    run = cli("predict", sample_data / "digits", "-o", tmp_path / "out", option, tmp_path / "no" / "file")
    assert (run.code, len(run.stderr.splitlines())) == (73, 1)
    assert "must be a file in a folder that exists" in run.stderr
    assert not (tmp_path / "out").exists()


def test_full_stderr_does_not_fail_a_run(sample_data: Path, tmp_path: Path) -> None:
    command = " ".join([*FAKE_JOB, str(sample_data / "digits.zip"), "-o", str(tmp_path / "out"), "--preprocess frame"])
    run = subprocess.run(["sh", "-c", f"{command} --json 2>/dev/full"], stdout=subprocess.PIPE, text=True, check=False)
    assert (run.returncode, json.loads(run.stdout)["status"]) == (0, "done")
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["warnings"]  # they were written to stderr


def read_samples(path: Path) -> dict[str, float]:
    """The values that Prometheus's own parser reads: by stage if there is one, otherwise by name."""
    families = text_string_to_metric_families(path.read_text())
    samples = [sample for family in families for sample in family.samples]
    assert {sample.labels["task"] for sample in samples} == {path.stem}
    return {sample.labels.get("stage", sample.name): sample.value for sample in samples}


def test_metrics_keep_the_last_success(cli: Cli, sample_data: Path, tmp_path: Path) -> None:
    metrics = tmp_path / "scans.prom"
    arguments = ["predict", sample_data / "digits", "-o", tmp_path / "out", "--metrics-file", metrics]
    before = time.time()
    assert cli(*arguments).code == 0
    good = read_samples(metrics)
    assert before <= good["mnist_batch_last_success_timestamp_seconds"] <= time.time()
    assert good["mnist_batch_last_run_exit_code"] == 0
    assert (good["mnist_batch_rows"], good["mnist_batch_rejected_rows"]) == (300, 0)
    assert round(good["mnist_batch_accuracy_ratio"], 4) == 0.9833
    assert good["score"] > 0
    for extra, code, rows in ((["--min-accuracy", "1"], 3, 300), (["--format", "csv"], 73, None)):
        assert cli(*arguments, *extra).code == code
        bad = read_samples(metrics)
        assert bad["mnist_batch_last_run_timestamp_seconds"] > good["mnist_batch_last_run_timestamp_seconds"]
        last = "mnist_batch_last_success_timestamp_seconds"
        assert (bad["mnist_batch_last_run_exit_code"], bad[last]) == (code, good[last])
        assert bad.get("mnist_batch_rows") == rows
    assert [path.name for path in tmp_path.glob("*.prom*")] == ["scans.prom"]


@pytest.mark.parametrize("content", [b"", b"\xff\0", b"{", b"mnist_batch_last_success_timestamp_seconds{"])
def test_metrics_do_not_need_the_earlier_file(content: bytes, tmp_path: Path) -> None:
    metrics = tmp_path / "a.prom"
    metrics.write_bytes(content)
    content = format_metrics(metrics, console.summarize_error("no", 65, None), Timings(1, 3, {"read": 2.5}))
    metrics.write_bytes(content)
    samples = read_samples(metrics)
    assert "mnist_batch_last_success_timestamp_seconds" not in samples
    assert (samples["start"], samples["read"]) == (1, 2.5)


def test_alert_rules_use_existing_metrics(cli: Cli, sample_data: Path, tmp_path: Path) -> None:
    metrics = tmp_path / "a.prom"
    assert cli("predict", sample_data / "digits", "-o", tmp_path / "out", "-q", "--metrics-file", metrics).code == 0
    rules = (sample_data.parent / "jobs" / "mnist_batch.rules.yml").read_text()
    assert set(re.findall(r"mnist_batch_\w+", rules)) < read_samples(metrics).keys()
