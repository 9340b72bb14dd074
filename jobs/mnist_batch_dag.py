"""Airflow 3: every night, the digits that came in the day before, each day into a folder of its own.

Put this file into the DAGs folder. It needs Airflow and its standard provider, nothing else: TensorFlow stays in the
job's own virtual environment, which MNIST_BATCH_COMMAND names. Retries are for what another start can mend.
"""

import json
import os
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.providers.standard.hooks.subprocess import SubprocessHook
from airflow.providers.standard.sensors.python import PythonSensor
from airflow.sdk import DAG, Asset, BaseOperator, Context, CronDataIntervalTimetable, Param
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

COMMAND = os.environ.get("MNIST_BATCH_COMMAND", "/opt/mnist-batch/.venv/bin/mnist-batch")
PREDICTIONS = Asset("mnist_batch_predictions")
SKIPPED = 99
# What no other start would mend. All else is tried again: 74 storage, 75 another run, 143 and 137 stopped, ...
HOPELESS = {
    2: "usage",
    3: "a gate failed: the predictions are there, _SUCCESS is not",
    65: "the input is broken",
    66: "no such input",
    70: "a bug",
    73: "the output folder is another's, or cannot be written",
    78: "the model is unusable",
}

PARAMS = {
    "input": Param(
        "/data/scans/{date}",
        type="string",
        minLength=1,
        title="Input",
        description="File, folder, archive or pattern; `{date}` is the day that is scored.",
    ),
    "output": Param(
        "/data/predictions/{date}",
        type="string",
        minLength=1,
        title="Output",
        description="Folder to write to, one for each day.",
    ),
    "date": Param(
        None,
        type=["null", "string"],
        format="date",
        title="Day",
        description="For a run that has no logical date: started by hand, or by an asset.",
    ),
    "model": Param("seed", type="string", minLength=1, title="Model", description="A bundled model, or a path."),
    "max_reject_rate": Param(
        0.05,
        type="number",
        minimum=0,
        maximum=1,
        title="Rejects at most",
        description="Share of the images. The run fails, without a retry, if more are rejected.",
        section="Gates",
    ),
    "min_accuracy": Param(
        None,
        type=["null", "number"],
        minimum=0,
        maximum=1,
        title="Accuracy at least",
        description="Share of the labelled images. Empty: no gate.",
        section="Gates",
    ),
}

DOC = """
### Digits of a day

Waits for the day's input, scores it with `mnist-batch predict`, and leaves a folder with `predictions/`, `report.json`
and, if the gates passed, `_SUCCESS`. The job's summary is the XCom of `predict`; its counts are in the asset's event.

| | |
|---|---|
| the same day again | does nothing, if neither input nor model nor options have changed; else that day is rewritten |
| no image in the input | *skipped* |
| a gate failed, or input, output, model or options are refused | *failed* at once; the log says which |
| disk full, another run, a timeout, killed | tried again; it goes on where it stopped |

A backfill (`airflow backfill create --dag-id mnist_batch --from-date ... --to-date ...`) rewrites its days only.
"""


def for_day(text: str, context: Context) -> str:
    """`text` with the run's day in place of `{date}`: never today's, or a second run would be another run."""
    day = context["params"]["date"]
    if day is None and (logical_date := context.get("logical_date")) is not None:
        day = f"{logical_date:%Y-%m-%d}"
    if day is None and "{date}" in text:
        raise AirflowFailException(
            f"{text}: must have a day to stand for {{date}}, this run has none: give it as `date`"
        )
    return text.replace("{date}", str(day))


def has_come(**context: Any) -> bool:
    """Whether there is an input; a pattern's folder will do. What is still being copied should have another name."""
    path = Path(for_day(context["params"]["input"], context))
    while set("*?[") & set(path.name):
        path = path.parent
    return path.exists()


class PredictOperator(BaseOperator):
    """Runs `mnist-batch predict` in its own environment, and returns its summary."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._hook = SubprocessHook()

    def execute(self, context: Context) -> dict[str, Any]:
        params = context["params"]
        gates = ["--max-reject-rate", str(params["max_reject_rate"])]
        if params["min_accuracy"] is not None:
            gates += ["--min-accuracy", str(params["min_accuracy"])]
        told = ["--on-empty", "skip", "--overwrite", "--json"]
        output, scored = for_day(params["output"], context), for_day(params["input"], context)
        command = [COMMAND, "predict", "--output", output, "--model", params["model"], *gates, *told, "--", scored]
        # Both streams come as one; that the summary is the last line of them is the job's promise.
        code, last_line = self._hook.run_command(command)
        if code in HOPELESS:
            raise AirflowFailException(f"exit {code}, {HOPELESS[code]}; not tried again: {last_line}")
        if code == SKIPPED:
            raise AirflowSkipException(last_line)
        if code != 0:
            raise AirflowException(f"exit {code}, another start goes on where this one stopped: {last_line}")
        summary: dict[str, Any] = json.loads(last_line)
        counts = ("status", "output", "rows", "predicted", "rejected", "labelled", "accuracy", "fingerprint")
        context["outlet_events"][PREDICTIONS].extra = {name: summary[name] for name in counts}
        return summary

    def on_kill(self) -> None:
        """Waits for the end, since the retry would find the folder locked."""
        process = self._hook.sub_process
        if process is not None and process.poll() is None:
            self._hook.send_sigterm()
            process.wait()


with DAG(
    "mnist_batch",
    description="Scores the digits of a day",
    doc_md=DOC,
    schedule=CronDataIntervalTimetable("0 2 * * *", timezone="UTC"),
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    params=PARAMS,
    tags=["mnist"],
) as dag:
    arrived = PythonSensor(
        task_id="input_has_come",
        python_callable=has_come,
        mode="reschedule",
        poke_interval=300,
        timeout=timedelta(hours=12).total_seconds(),
    )
    predict = PredictOperator(
        task_id="predict",
        retries=3,
        retry_delay=timedelta(minutes=5),
        execution_timeout=timedelta(hours=2),
        outlets=[PREDICTIONS],
    )
    arrived >> predict
