"""The DAG under a real Airflow, in its own virtual environment: `make test-airflow`."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

AIRFLOW = os.environ.get("MNIST_BATCH_AIRFLOW", "")
JOBS = Path(__file__).parent.parent.parent / "jobs"
pytestmark = pytest.mark.skipif(not AIRFLOW, reason="needs an environment with Airflow: make test-airflow")

# The DAG with a shorter retry delay and timeout.
TUNED = """
from datetime import timedelta
from mnist_batch_dag import dag  # airflow
predict = dag.get_task("predict")
predict.retry_delay, predict.execution_timeout = timedelta(seconds=1), timedelta(seconds=25)
"""
# The real job. Its first start takes a second per batch.
SLOW_ONCE = """#!{python}
import sys, time
from pathlib import Path
from mnist_batch.cli.app import run
from mnist_batch.cli.outcome import OutcomeReporter

started, check_interrupted = Path("{started}"), OutcomeReporter.check_interrupted
if not started.exists():
    started.touch()
    OutcomeReporter.check_interrupted = lambda reporter: time.sleep(1) or check_interrupted(reporter)
run()
"""
# What the operator raises for each exit code of the job.
OUTCOMES = """
import json, mnist_batch_dag
outcomes = {}
for code in map(int, {codes}):
    mnist_batch_dag.SubprocessHook.run_command = lambda *_: (code, '{"error": "why"}')
    params = {name: param.value for name, param in mnist_batch_dag.PARAMS.items()} | {"date": "2026-11-23"}
    try:
        mnist_batch_dag.PredictOperator(task_id="x").execute({"params": params})
    except Exception as error:
        outcomes[code] = [type(error).__name__, str(error)]
print(json.dumps(outcomes))
"""
Conf = dict[str, str]


class DagRun(NamedTuple):
    """One run of the DAG.

    log: the output of `airflow dags test`.
    state, tries: how the task `predict` ended, and after how many tries.
    summary: what `predict` returned, if it succeeded.
    event: the extra data of the asset event, if there was one.
    """

    log: str
    state: str
    tries: int
    summary: dict[str, Any]
    event: dict[str, Any]


class Airflow:
    """An Airflow home with a SQLite database. DAGs come from `jobs/` unless a variable names another folder."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.variables = os.environ | {
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(JOBS),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "PYTHONPATH": str(JOBS),
            "MNIST_BATCH_COMMAND": str(Path(sys.executable).with_name("mnist-batch")),
        }
        self("db", "migrate")

    def __call__(self, *command: str, **variables: str) -> str:
        """Runs one Airflow command and returns what it printed."""
        return subprocess.run(
            [AIRFLOW, *command], env=self.variables | variables, capture_output=True, text=True, check=False
        ).stdout

    def python(self, program: str, **variables: str) -> str:
        """Runs a program in Airflow's environment and returns the last line it printed."""
        python = Path(AIRFLOW).with_name("python")
        environment = self.variables | variables
        run = subprocess.run([python, "-c", program], env=environment, capture_output=True, text=True, check=True)
        return run.stdout.splitlines()[-1]

    def run(self, date: str, conf: Conf, **variables: str) -> DagRun:
        """Runs the DAG for one day."""
        log = self("dags", "test", "mnist_batch", date, "--conf", json.dumps(conf), **variables)
        with sqlite3.connect(self.home / "airflow.db") as database:
            (run, state, tries), *_ = database.execute(
                "select run_id, state, try_number from task_instance where task_id = 'predict' order by id desc"
            )
            returned = database.execute("select value from xcom where run_id = ? and key = 'return_value'", [run])
            emitted = database.execute("select extra from asset_event where source_run_id = ?", [run])
            summaries, events = ([json.loads(content) for (content,) in rows] for rows in (returned, emitted))
        return DagRun(log, state, tries, summaries[0] if summaries else {}, events[0] if events else {})


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Airflow:
    return Airflow(tmp_path_factory.mktemp("airflow"))


@pytest.fixture
def conf(tmp_path: Path) -> Conf:
    """One input and one output per day."""
    return {"input": f"{tmp_path}/in/{{date}}", "output": f"{tmp_path}/out/{{date}}"}


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Time of the last change and content of each file in a folder, by name."""
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


def test_backfill_rewrites_only_its_day(airflow: Airflow, conf: Conf, real_data: Path, tmp_path: Path) -> None:
    for day in ("2026-11-22", "2026-11-23"):
        (tmp_path / "in" / day).mkdir(parents=True)
        for part in (real_data / "mnist").glob("t10k-*"):
            shutil.copy(part, tmp_path / "in" / day)
    other_day = tmp_path / "out" / "2026-11-22"
    assert airflow.run("2026-11-22", conf).state == "success"
    before = contents(other_day)
    first = airflow.run("2026-11-23", conf)
    assert (first.state, first.tries, first.summary["status"], first.summary["rows"]) == ("success", 1, "done", 10_000)
    assert first.summary["accuracy"] > 0.97
    assert (tmp_path / "out" / "2026-11-23" / "_SUCCESS").exists()
    assert first.event == {name: first.summary[name] for name in first.event}
    assert (first.event["predicted"], first.event["rejected"]) == (10_000, 0)
    again = airflow.run("2026-11-23", conf)
    assert (again.state, again.summary["status"]) == ("success", "already_done")
    assert again.summary["fingerprint"] == first.summary["fingerprint"]
    (tmp_path / "in" / "2026-11-23" / "late.png").write_bytes(b"")
    backfill = airflow.run("2026-11-23", conf)
    assert (backfill.state, backfill.summary["status"], backfill.summary["rows"]) == ("success", "done", 10_001)
    assert contents(other_day) == before


def test_too_many_rejects_fail_without_retry(airflow: Airflow, conf: Conf, sample_data: Path, tmp_path: Path) -> None:
    shutil.copytree(sample_data / "digits" / "0", tmp_path / "in" / "2026-11-23")
    for name in range(5):
        (tmp_path / "in" / "2026-11-23" / f"{name}.png").write_bytes(b"no image")
    run = airflow.run("2026-11-23", conf)
    assert (run.state, run.tries) == ("failed", 1)
    assert "exit 3, a gate failed: the predictions are there, _SUCCESS is not; not tried again" in run.log
    assert (tmp_path / "out" / "2026-11-23" / "predictions").is_dir()


def test_empty_input_is_skipped(airflow: Airflow, conf: Conf, tmp_path: Path) -> None:
    (tmp_path / "in" / "2026-11-23").mkdir(parents=True)
    run = airflow.run("2026-11-23", conf)
    assert (run.state, run.tries) == ("skipped", 1)


def test_retry_completes_a_run_after_timeout(airflow: Airflow, conf: Conf, sample_data: Path, tmp_path: Path) -> None:
    pixels = (sample_data / "digits-images-idx3-ubyte").read_bytes()[16:]
    (tmp_path / "in").mkdir()
    header = b"\0\0\x08\x03" + (15_000).to_bytes(4, "big") + (28).to_bytes(4, "big") * 2
    (tmp_path / "in" / "2026-11-23").write_bytes(header + pixels * 50)
    slow_job = tmp_path / "slow_once"
    slow_job.write_text(SLOW_ONCE.format(python=sys.executable, started=tmp_path / "started"))
    slow_job.chmod(0o755)
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / "tuned.py").write_text(TUNED)
    run = airflow.run(
        "2026-11-23",
        conf,
        AIRFLOW__CORE__DAGS_FOLDER=str(tmp_path / "dags"),
        MNIST_BATCH_COMMAND=str(slow_job),
        MNIST_BATCH_PREDICT_ROWS_PER_PART="250",
    )
    assert "Sending SIGTERM signal to process group" in run.log
    assert (run.state, run.tries > 1, run.summary["rows"]) == ("success", True, 15_000)
    manifest = json.loads((tmp_path / "out" / "2026-11-23" / "manifest.json").read_text())
    assert 0 < manifest["resumed_shards"] < 60


def test_each_exit_code_has_its_own_outcome(airflow: Airflow) -> None:
    codes = [2, 3, 65, 66, 70, 73, 74, 75, 78, 99, 143, -9]
    outcomes = json.loads(airflow.python(OUTCOMES.replace("{codes}", str(codes))))
    errors = {int(code): error for code, (error, _) in outcomes.items()}
    assert {code for code, error in errors.items() if error == "AirflowFailException"} == {2, 3, 65, 66, 70, 73, 78}
    assert {code for code, error in errors.items() if error == "AirflowException"} == {74, 75, 143, -9}
    assert errors[99] == "AirflowSkipException"
    assert len({text for _, text in outcomes.values()}) == len(outcomes)


def test_run_without_a_day_fails_with_advice(airflow: Airflow) -> None:
    program = OUTCOMES.replace("{codes}", "[0]").replace('"2026-11-23"', "None")
    error, text = json.loads(airflow.python(program))["0"]
    assert (error, "this run has none: give it as `date`" in text) == ("AirflowFailException", True)


def test_dag_import_loads_no_tensorflow(airflow: Airflow, tmp_path: Path) -> None:
    for name in ("tensorflow", "keras", "numpy", "mnist_batch"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(__name__)")
    program = "import mnist_batch_dag; print(mnist_batch_dag.dag.dag_id)"
    assert airflow.python(program, PYTHONPATH=f"{tmp_path}:{JOBS}") == "mnist_batch"


def test_ruff_airflow_rules_pass() -> None:
    ruff = [sys.executable, "-m", "ruff", "check", "--isolated", "--preview", "--select", "AIR", str(JOBS)]
    run = subprocess.run(ruff, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout
