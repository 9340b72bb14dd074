"""A DAG for Airflow 3. Every night it scores the previous day's digits into a folder for that day.

Put this file into the DAGs folder. It needs only Airflow and its standard provider: the job runs in its own virtual
environment, with TensorFlow, and MNIST_BATCH_COMMAND names its command. Only errors that a retry can fix are retried.
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
# Exit codes that a retry cannot fix. All others are retried: 74 storage, 75 another run, 143 and 137 stopped, ...
NOT_RETRIED = {
    2: "usage",
    3: "a gate failed: the predictions are there, _SUCCESS is not",
    65: "the input is broken",
    66: "no such input",
    70: "a bug",
    73: "the output folder belongs to something else, or cannot be written",
    78: "the model is unusable",
}

PARAMS = {
    "input": Param(
        "/data/scans/{date}",
        type="string",
        minLength=1,
        title="Input",
        description="File, folder, archive or pattern; `{date}` is the day to score.",
    ),
    "output": Param(
        "/data/predictions/{date}",
        type="string",
        minLength=1,
        title="Output",
        description="Folder to write to, one per day.",
    ),
    "date": Param(
        None,
        type=["null", "string"],
        format="date",
        title="Day",
        description="Only for runs without a logical date, started by hand or by an asset.",
    ),
    "model": Param("seed", type="string", minLength=1, title="Model", description="A bundled model, or a path."),
    "max_reject_rate": Param(
        0.05,
        type="number",
        minimum=0,
        maximum=1,
        title="Maximum reject rate",
        description="Share of the images, 0 to 1. If more are rejected, the run fails and is not retried.",
        section="Gates",
    ),
    "min_accuracy": Param(
        None,
        type=["null", "number"],
        minimum=0,
        maximum=1,
        title="Minimum accuracy",
        description="Share of the labelled images, 0 to 1. Empty: no gate.",
        section="Gates",
    ),
}

DOC = """
### The digits of one day

Waits for the day's input, scores it with `mnist-batch predict`, and writes a folder with `predictions/`, `report.json`
and, if the gates passed, `_SUCCESS`. The job's summary is the XCom of `predict`; its counts are in the asset event.

| case | what happens |
|---|---|
| the same day again | nothing, if input, model and options are unchanged; otherwise the day is scored again |
| no image in the input | *skipped* |
| a gate failed, or the input, output, model or options are invalid | *failed* at once; the log names the reason |
| disk full, another run, a timeout, killed | retried; continues where it stopped |

A backfill (`airflow backfill create --dag-id mnist_batch --from-date ... --to-date ...`) changes only its own days.
"""


def for_day(text: str, context: Context) -> str:
    """Replaces `{date}` in `text` by the run's day.

    Never uses today's date, because the same run started again later would then score another day.
    """
    day = context["params"]["date"]
    if day is None and (logical_date := context.get("logical_date")) is not None:
        day = f"{logical_date:%Y-%m-%d}"
    if day is None and "{date}" in text:
        raise AirflowFailException(f"{text}: must have a day for {{date}}, this run has none: give it as `date`")
    return text.replace("{date}", str(day))


def input_exists(**context: Any) -> bool:
    """Whether the input exists; for a pattern, whether its folder exists.

    Cannot tell whether files are still being copied: copy them under another name and rename them when complete.
    """
    path = Path(for_day(context["params"]["input"], context))
    while set("*?[") & set(path.name):
        path = path.parent
    return path.exists()


class PredictOperator(BaseOperator):
    """Runs `mnist-batch predict` in its own environment and returns its summary."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._hook = SubprocessHook()

    def execute(self, context: Context) -> dict[str, Any]:
        params = context["params"]
        gates = ["--max-reject-rate", str(params["max_reject_rate"])]
        if params["min_accuracy"] is not None:
            gates += ["--min-accuracy", str(params["min_accuracy"])]
        fixed = ["--on-empty", "skip", "--overwrite", "--json"]
        output, scored = for_day(params["output"], context), for_day(params["input"], context)
        command = [COMMAND, "predict", "--output", output, "--model", params["model"], *gates, *fixed, "--", scored]
        # The hook merges stdout and stderr. With --json, the summary is the last line on every exit.
        code, last_line = self._hook.run_command(command)
        if code in NOT_RETRIED:
            raise AirflowFailException(f"exit {code}, {NOT_RETRIED[code]}; not tried again: {last_line}")
        if code == SKIPPED:
            raise AirflowSkipException(last_line)
        if code != 0:
            raise AirflowException(f"exit {code}, a retry continues where this run stopped: {last_line}")
        summary: dict[str, Any] = json.loads(last_line)
        counts = ("status", "output", "rows", "predicted", "rejected", "labelled", "accuracy", "fingerprint")
        context["outlet_events"][PREDICTIONS].extra = {name: summary[name] for name in counts}
        return summary

    def on_kill(self) -> None:
        """Stops the job and waits for its end, because a retry would find the output folder locked."""
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
    wait_for_input = PythonSensor(
        task_id="input_has_come",
        python_callable=input_exists,
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
    wait_for_input >> predict
