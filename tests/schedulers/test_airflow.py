"""The DAG under a real Airflow, in an environment of its own: `make test-airflow`."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

AIRFLOW = os.environ.get("MNIST_BATCH_AIRFLOW", "")
JOBS = Path(__file__).parent.parent.parent / "jobs"
pytestmark = pytest.mark.skipif(not AIRFLOW, reason="wants an environment with Airflow: make test-airflow")

# The DAG as it is, but for how long things take.
TUNED = """
from datetime import timedelta
from mnist_batch_dag import dag  # airflow
predict = dag.get_task("predict")
predict.retry_delay, predict.execution_timeout = timedelta(seconds=1), timedelta(seconds=25)
"""
# The real job; its first start takes a second for each batch.
SLOW_ONCE = """#!{python}
import sys, time
from pathlib import Path
from mnist_batch.cli.app import run
from mnist_batch.cli.outcome import Ending

started, check = Path("{started}"), Ending.check
if not started.exists():
    started.touch()
    Ending.check = lambda ending: time.sleep(1) or check(ending)
run()
"""
# What the operator makes of each end of the job.
ENDS = """
import json, mnist_batch_dag
found = {}
for code in map(int, {codes}):
    mnist_batch_dag.SubprocessHook.run_command = lambda *_: (code, '{"error": "why"}')
    params = {name: param.value for name, param in mnist_batch_dag.PARAMS.items()} | {"date": "2026-11-23"}
    try:
        mnist_batch_dag.PredictOperator(task_id="x").execute({"params": params})
    except Exception as error:
        found[code] = [type(error).__name__, str(error)]
print(json.dumps(found))
"""


class Airflow:
    """One Airflow home with its SQLite; DAGs from `jobs/`, or from a folder of the test's own."""

    def __init__(self, home):
        self.home = home
        self.variables = os.environ | {
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(JOBS),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "PYTHONPATH": str(JOBS),
            "MNIST_BATCH_COMMAND": str(Path(sys.executable).with_name("mnist-batch")),
        }
        self("db", "migrate")

    def __call__(self, *command, **variables):
        return subprocess.run(
            [AIRFLOW, *command], env=self.variables | variables, capture_output=True, text=True, check=False
        ).stdout

    def python(self, program, **variables):
        """The last line that a program prints in Airflow's environment."""
        python = Path(AIRFLOW).with_name("python")
        variables = self.variables | variables
        run = subprocess.run([python, "-c", program], env=variables, capture_output=True, text=True, check=True)
        return run.stdout.splitlines()[-1]

    def run(self, date, conf, **variables):
        """One run of the DAG: its log, how `predict` ended, in how many tries, what it returned, and its event."""
        log = self("dags", "test", "mnist_batch", date, "--conf", json.dumps(conf), **variables)
        with sqlite3.connect(self.home / "airflow.db") as database:
            (run, state, tries), *_ = database.execute(
                "select run_id, state, try_number from task_instance where task_id = 'predict' order by id desc"
            )
            returned = database.execute("select value from xcom where run_id = ? and key = 'return_value'", [run])
            event = database.execute("select extra from asset_event where source_run_id = ?", [run])
            value, extra = ([json.loads(content) for (content,) in rows] for rows in (returned, event))
        return log, state, tries, value[0] if value else None, extra[0] if extra else None


@pytest.fixture(scope="module")
def airflow(tmp_path_factory):
    return Airflow(tmp_path_factory.mktemp("airflow"))


@pytest.fixture
def conf(tmp_path):
    """Partitions by day."""
    return {"input": f"{tmp_path}/in/{{date}}", "output": f"{tmp_path}/out/{{date}}"}


def contents(folder):
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


def test_real_digits_are_scored_once_and_a_backfill_rewrites_its_day_only(airflow, conf, real_data, tmp_path):
    for day in ("2026-11-22", "2026-11-23"):
        (tmp_path / "in" / day).mkdir(parents=True)
        for part in (real_data / "mnist").glob("t10k-*"):
            shutil.copy(part, tmp_path / "in" / day)
    other = tmp_path / "out" / "2026-11-22"
    assert airflow.run("2026-11-22", conf)[1] == "success"
    before = contents(other)
    _, state, tries, summary, event = airflow.run("2026-11-23", conf)
    assert (state, tries, summary["status"], summary["rows"]) == ("success", 1, "done", 10_000)
    assert summary["accuracy"] > 0.97
    assert (tmp_path / "out" / "2026-11-23" / "_SUCCESS").exists()
    assert event == {name: summary[name] for name in event}
    assert (event["predicted"], event["rejected"]) == (10_000, 0)
    _, state, _, again, _ = airflow.run("2026-11-23", conf)
    assert (state, again["status"], again["fingerprint"]) == ("success", "already_done", summary["fingerprint"])
    (tmp_path / "in" / "2026-11-23" / "late.png").write_bytes(b"")
    _, state, _, backfilled, _ = airflow.run("2026-11-23", conf)
    assert (state, backfilled["status"], backfilled["rows"]) == ("success", "done", 10_001)
    assert contents(other) == before


def test_too_many_rejects_fail_without_a_retry(airflow, conf, sample_data, tmp_path):
    shutil.copytree(sample_data / "digits" / "0", tmp_path / "in" / "2026-11-23")
    for name in range(5):
        (tmp_path / "in" / "2026-11-23" / f"{name}.png").write_bytes(b"no image")
    log, state, tries, *_ = airflow.run("2026-11-23", conf)
    assert (state, tries) == ("failed", 1)
    assert "exit 3, a gate failed: the predictions are there, _SUCCESS is not; not tried again" in log
    assert (tmp_path / "out" / "2026-11-23" / "predictions").is_dir()


def test_an_empty_input_skips(airflow, conf, tmp_path):
    (tmp_path / "in" / "2026-11-23").mkdir(parents=True)
    _, state, tries, *_ = airflow.run("2026-11-23", conf)
    assert (state, tries) == ("skipped", 1)


def test_the_timeout_s_sigterm_leaves_a_run_that_the_retry_completes(airflow, conf, sample_data, tmp_path):
    pixels = (sample_data / "digits-images-idx3-ubyte").read_bytes()[16:]
    (tmp_path / "in").mkdir()
    head = b"\0\0\x08\x03" + (15_000).to_bytes(4, "big") + (28).to_bytes(4, "big") * 2
    (tmp_path / "in" / "2026-11-23").write_bytes(head + pixels * 50)
    slow = tmp_path / "slow_once"
    slow.write_text(SLOW_ONCE.format(python=sys.executable, started=tmp_path / "started"))
    slow.chmod(0o755)
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / "tuned.py").write_text(TUNED)
    log, state, tries, summary, _ = airflow.run(
        "2026-11-23",
        conf,
        AIRFLOW__CORE__DAGS_FOLDER=str(tmp_path / "dags"),
        MNIST_BATCH_COMMAND=str(slow),
        MNIST_BATCH_PREDICT_ROWS_PER_PART="250",
    )
    assert "Sending SIGTERM signal to process group" in log
    assert (state, tries > 1, summary["rows"]) == ("success", True, 15_000)
    manifest = json.loads((tmp_path / "out" / "2026-11-23" / "manifest.json").read_text())
    assert 0 < manifest["resumed_shards"] < 60


def test_each_exit_is_told_apart(airflow):
    found = json.loads(airflow.python(ENDS.replace("{codes}", "[2, 3, 65, 66, 70, 73, 74, 75, 78, 99, 143, -9]")))
    kinds = {int(code): kind for code, (kind, _) in found.items()}
    assert {code for code, kind in kinds.items() if kind == "AirflowFailException"} == {2, 3, 65, 66, 70, 73, 78}
    assert {code for code, kind in kinds.items() if kind == "AirflowException"} == {74, 75, 143, -9}
    assert kinds[99] == "AirflowSkipException"
    assert len({text for _, text in found.values()}) == len(found)


def test_a_run_without_a_day_is_refused_in_words(airflow):
    program = ENDS.replace("{codes}", "[0]").replace('"2026-11-23"', "None")
    kind, text = json.loads(airflow.python(program))["0"]
    assert (kind, "this run has none: give it as `date`" in text) == ("AirflowFailException", True)


def test_importing_the_dag_loads_no_tensorflow_though_there_is_one(airflow, tmp_path):
    for name in ("tensorflow", "keras", "numpy", "mnist_batch"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(__name__)")
    program = "import mnist_batch_dag; print(mnist_batch_dag.dag.dag_id)"
    assert airflow.python(program, PYTHONPATH=f"{tmp_path}:{JOBS}") == "mnist_batch"


def test_ruff_s_rules_for_airflow_find_nothing():
    ruff = [sys.executable, "-m", "ruff", "check", "--isolated", "--preview", "--select", "AIR", str(JOBS)]
    run = subprocess.run(ruff, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout
