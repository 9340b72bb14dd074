"""What a run says to whoever started it and does not watch: cron's mail, a scheduler's log, a collector's file."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
from prometheus_client.parser import text_string_to_metric_families
from reliability.readers import FAKE_JOB

from mnist_batch.cli import console
from mnist_batch.cli.metrics import write_metrics
from mnist_batch.output.lock import hold_lock
from mnist_batch.run import job

PREDICT = [sys.executable, "-m", "mnist_batch", "predict"]
NOISY = {"TF_CPP_MIN_LOG_LEVEL": "0", "TF_CPP_MAX_VLOG_LEVEL": "1", "PYTHONWARNINGS": "always", "OPENCV_LOG_LEVEL": "V"}


def merged(command):
    """Starts a program with both its streams in one pipe, and every library told to be as noisy as it can."""
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | NOISY
    )


@pytest.fixture(params=["--quiet", "--json", "both"])
def telling(request):
    return ["--quiet", "--json"] if request.param == "both" else [request.param]


def assert_told(telling, code, lines):
    """Nothing but one line of an error with --quiet; with --json the object last."""
    if "--json" in telling:
        assert json.loads(lines.pop())["exit_code"] == code
    if "--quiet" in telling:
        assert len(lines) == (code not in (0, 75, 99))
    assert all(line.startswith("mnist-batch: ") for line in lines)


def test_the_libraries_are_noisy_where_nobody_hushes_them():
    program = "import tensorflow as tf; print(tf.matmul(tf.ones((2, 2)), tf.ones((2, 2))))"
    out, _ = merged([sys.executable, "-c", program]).communicate(timeout=120)
    assert len(out.splitlines()) > 20


def test_with_both_streams_in_one_pipe_nothing_foreign_is_in_it(telling, sample_data, tmp_path):
    broken = tmp_path / "broken-idx3-ubyte"
    broken.write_bytes((sample_data / "digits-images-idx3-ubyte").read_bytes()[:5000])
    good = str(sample_data / "digits")
    for code, arguments in (
        (0, [good]),
        (3, [good, "--min-accuracy", "1"]),
        (65, [str(broken)]),
        (2, [good, "--batch-size", "many"]),
    ):
        run = merged([*PREDICT, *arguments, "-o", str(tmp_path / f"out{code}"), *telling])
        lines = run.communicate(timeout=120)[0].splitlines()
        assert run.returncode == code, lines
        assert_told(telling, code, lines)


def test_with_both_streams_in_one_pipe_sigterm_is_told_as_any_other_end(telling, sample_data, tmp_path):
    interrupted_run = tmp_path / "out" / "_work" / "run.json"
    run = merged([*PREDICT, str(sample_data / "digits.zip"), "-o", str(tmp_path / "out"), *telling])
    while not interrupted_run.exists():  # TensorFlow is imported next
        assert run.poll() is None
        time.sleep(0.005)
    run.send_signal(signal.SIGTERM)
    lines = run.communicate(timeout=30)[0].splitlines()
    assert run.returncode == 143
    assert_told(telling, 143, lines)


def test_what_the_process_prints_after_its_end_was_told_goes_nowhere():
    program = "import atexit, os, sys; from mnist_batch.cli.app import run; atexit.register(print, 'late', flush=True);"
    program += "atexit.register(os.write, 1, b'native'); run('models', '--json')"
    run = merged([sys.executable, "-c", program])
    (line,) = run.communicate(timeout=60)[0].splitlines()
    assert json.loads(line)[0]["name"] == "seed"


def test_a_bug_under_quiet_is_one_line_that_says_where(cli, monkeypatch, tmp_path):
    monkeypatch.setattr(job, "run_job", lambda *_: 1 / 0)
    run = cli("predict", "x", "-o", tmp_path / "out", "--quiet")
    assert (run.code, run.stdout, len(run.stderr.splitlines())) == (70, "", 1)
    assert f"ZeroDivisionError('division by zero') at {__file__}:" in run.stderr


@pytest.mark.parametrize("quiet", [["--quiet"], []])
def test_a_folder_that_another_run_holds_is_75_which_quiet_does_not_mention(quiet, cli, sample_data, tmp_path):
    metrics, summary = tmp_path / "run.prom", tmp_path / "summary.json"
    told = ["--metrics-file", metrics, "--summary-file", summary]
    with hold_lock(tmp_path / "out"):
        run = cli("predict", sample_data / "digits", "-o", tmp_path / "out", *told, *quiet)
    assert (run.code, run.stdout, bool(run.stderr)) == (75, "", not quiet)
    assert json.loads(summary.read_text())["exit_code"] == 75
    assert not metrics.exists()  # the run that holds it will write them


@pytest.mark.parametrize("pattern", ["", "/*.png", "/**/*"])
def test_an_input_that_is_there_and_empty_may_be_skipped(pattern, cli, tmp_path):
    (tmp_path / "in").mkdir()
    arguments = ["predict", f"{tmp_path / 'in'}{pattern}", "-o", tmp_path / "out", "--json"]
    assert (cli(*arguments).code, cli(*arguments).json["status"]) == (66, "failed")
    skipped = cli(*arguments, "--on-empty", "skip", "--quiet")
    assert (skipped.code, skipped.stderr, skipped.json["status"]) == (99, "", "skipped")
    assert not (tmp_path / "out" / "predictions").exists()


@pytest.mark.parametrize("missing", ["{0}/no_such_folder", "{0}/no_such_folder/*.png", "{0} --labels {0}/no.csv"])
def test_an_input_that_is_not_there_is_a_mistake_and_not_skipped(missing, cli, tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    run = cli("predict", *missing.format(tmp_path).split(), "-o", tmp_path.with_name("out"), "--on-empty", "skip")
    assert run.code == 66


def test_an_output_that_is_empty_is_not_the_working_directory(cli, sample_data):
    for command in (["predict", sample_data / "digits"], ["train"]):
        run = cli(*command, "-o", "")
        assert (run.code, "--output must name a folder, is empty" in run.stderr) == (2, True)


def test_options_are_read_from_the_environment_and_flags_win(cli, sample_data, tmp_path, monkeypatch):
    variables = {"OUTPUT": tmp_path / "out", "QUIET": "1", "JSON": "true", "FORMAT": "csv", "MIN_ACCURACY": "1"}
    for name, value in variables.items():
        monkeypatch.setenv(f"MNIST_BATCH_PREDICT_{name}", str(value))
    monkeypatch.setenv("MNIST_BATCH_VERSION", "1.2.3")  # of somebody's deployment
    run = cli("predict", sample_data / "digits", "--min-accuracy", "0.9")
    assert (run.code, run.stderr, run.json["output"]) == (0, "", str(tmp_path / "out"))
    assert (tmp_path / "out" / "predictions" / "part-00000.csv").exists()
    monkeypatch.setenv("MNIST_BATCH_PREDICT_FORMAT", "xml")
    refused = cli("predict", sample_data / "digits")
    assert (refused.code, refused.json["exit_code"], len(refused.stderr.splitlines())) == (2, 2, 1)


def test_a_log_in_json_is_an_object_a_line(cli, sample_data, tmp_path, monkeypatch):
    monkeypatch.setattr(console, "_LOG_SECONDS", 0)
    arguments = ["predict", sample_data / "digits", "-o", tmp_path / "out", "--log-format", "json", "--batch-size", 16]
    run = cli(*arguments, "--min-accuracy", "1")
    *progress, last = (json.loads(line) for line in run.stderr.splitlines())
    assert progress
    assert all((line["level"], line["rows"]) == ("info", 300) for line in progress)
    assert (last["level"], last["message"].split(": ")[0]) == ("error", str(tmp_path / "out"))
    monkeypatch.setattr(job, "run_job", lambda *_: 1 / 0)
    (bug,) = (json.loads(line) for line in cli(*arguments).stderr.splitlines())
    assert "ZeroDivisionError" in bug["traceback"]


def test_the_summary_file_holds_the_object_of_every_end(cli, sample_data, tmp_path):
    summary = tmp_path / "return.json"
    arguments = ["predict", sample_data / "digits", "-o", tmp_path / "out", "--summary-file", summary, "--json"]
    for extra, code in (([], 0), (["--min-accuracy", "1"], 3), (["--batch-size", "no"], 2), (["--format", "csv"], 73)):
        run = cli(*arguments, *extra)
        assert (run.code, json.loads(summary.read_text())) == (code, run.json)
    assert [path.name for path in tmp_path.iterdir() if "return" in path.name] == ["return.json"]


def test_summary_and_metrics_are_written_too_where_the_process_is_ended_outright(sample_data, tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_SECONDS", "60")
    interrupted_run, summary, metrics = (
        tmp_path / "out" / "_work" / "run.json",
        tmp_path / "s.json",
        tmp_path / "m.prom",
    )
    files = ["--summary-file", str(summary), "--metrics-file", str(metrics), "--json"]
    run = merged([*FAKE_JOB, str(sample_data / "digits.zip"), "-o", str(tmp_path / "out"), *files])
    while not interrupted_run.exists():
        assert run.poll() is None
        time.sleep(0.005)
    run.send_signal(signal.SIGTERM)
    last = run.communicate(timeout=30)[0].splitlines()[-1]
    assert run.returncode == 143
    assert json.loads(summary.read_text()) == json.loads(last)
    assert samples(metrics)["mnist_batch_last_run_exit_code"] == 143


@pytest.mark.parametrize("option", ["--summary-file", "--metrics-file"])
def test_a_file_that_cannot_be_written_is_refused_before_the_run(option, cli, sample_data, tmp_path):
    run = cli("predict", sample_data / "digits", "-o", tmp_path / "out", option, tmp_path / "no" / "file")
    assert (run.code, len(run.stderr.splitlines())) == (73, 1)
    assert "must be a file in a folder that exists" in run.stderr
    assert not (tmp_path / "out").exists()


def test_a_stderr_that_takes_nothing_ends_no_run(sample_data, tmp_path):
    job_ = " ".join([*FAKE_JOB, str(sample_data / "digits.zip"), "-o", str(tmp_path / "out"), "--preprocess frame"])
    run = subprocess.run(["sh", "-c", f"{job_} --json 2>/dev/full"], stdout=subprocess.PIPE, text=True, check=False)
    assert (run.returncode, json.loads(run.stdout)["status"]) == (0, "done")
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["warnings"]  # there was something to say


def samples(path):
    """What Prometheus's own parser finds: values by name, and by stage."""
    families = text_string_to_metric_families(path.read_text())
    found = [sample for family in families for sample in family.samples]
    assert {sample.labels["task"] for sample in found} == {path.stem}
    return {sample.labels.get("stage", sample.name): sample.value for sample in found}


def test_metrics_tell_of_the_run_and_keep_the_last_success_over_failures(cli, sample_data, tmp_path):
    metrics = tmp_path / "scans.prom"
    arguments = ["predict", sample_data / "digits", "-o", tmp_path / "out", "--metrics-file", metrics]
    before = time.time()
    assert cli(*arguments).code == 0
    good = samples(metrics)
    assert before <= good["mnist_batch_last_success_timestamp_seconds"] <= time.time()
    assert good["mnist_batch_last_run_exit_code"] == 0
    assert (good["mnist_batch_rows"], good["mnist_batch_rejected_rows"]) == (300, 0)
    assert round(good["mnist_batch_accuracy_ratio"], 4) == 0.9833
    assert good["score"] > 0
    for extra, code, rows in ((["--min-accuracy", "1"], 3, 300), (["--format", "csv"], 73, None)):
        assert cli(*arguments, *extra).code == code
        bad = samples(metrics)
        assert bad["mnist_batch_last_run_timestamp_seconds"] > good["mnist_batch_last_run_timestamp_seconds"]
        last = "mnist_batch_last_success_timestamp_seconds"
        assert (bad["mnist_batch_last_run_exit_code"], bad[last]) == (code, good[last])
        assert bad.get("mnist_batch_rows") == rows
    assert [path.name for path in tmp_path.glob("*.prom*")] == ["scans.prom"]


@pytest.mark.parametrize("content", [b"", b"\xff\0", b"{", b"mnist_batch_last_success_timestamp_seconds{"])
def test_metrics_replace_a_file_that_says_nothing(content, tmp_path):
    metrics = tmp_path / "a.prom"
    metrics.write_bytes(content)
    write_metrics(metrics, console.build_error_object("no", 65, None), {"start": 1, "stages": {"read": 2.5}})
    found = samples(metrics)
    assert "mnist_batch_last_success_timestamp_seconds" not in found
    assert (found["start"], found["read"]) == (1, 2.5)


def test_the_alert_rules_speak_of_metrics_that_there_are(cli, sample_data, tmp_path):
    metrics = tmp_path / "a.prom"
    assert cli("predict", sample_data / "digits", "-o", tmp_path / "out", "-q", "--metrics-file", metrics).code == 0
    rules = (sample_data.parent / "jobs" / "mnist_batch.rules.yml").read_text()
    assert set(re.findall(r"mnist_batch_\w+", rules)) < samples(metrics).keys()
