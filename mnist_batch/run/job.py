"""`run_job`: plan, score, commit, report. The whole of a run on one screen; everything else is a part of it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mnist_batch.config import PredictConfig
from mnist_batch.errors import InputError, MnistBatchError, ModelError, OutputError, UsageError
from mnist_batch.model.bundled import resolve_model
from mnist_batch.names import printable
from mnist_batch.output.formats import sink_for
from mnist_batch.output.lock import hold_lock
from mnist_batch.output.manifest import MAX_LISTED, list_differences, list_inline
from mnist_batch.output.store import OutputStore
from mnist_batch.output.unique import check_unique_ids
from mnist_batch.records import Preprocessing
from mnist_batch.report.document import REPORT_VERSION, build_report
from mnist_batch.report.drift import drift_warnings
from mnist_batch.report.gates import judge
from mnist_batch.report.preprocessing import preprocessing_warnings
from mnist_batch.run.engines import local
from mnist_batch.run.inspection import SAMPLE_POSITIONS, SAMPLE_ROWS
from mnist_batch.run.plan import Plan, make_plan
from mnist_batch.run.reports import compare_with_baseline, read_baseline, render_page
from mnist_batch.run.result import Result
from mnist_batch.run.scoring import ScoringJob, ShardResult
from mnist_batch.run.totals import RunTally
from mnist_batch.run.transpose_check import check_transposed
from mnist_batch.runtime import import_in_background, pause_garbage_collection
from mnist_batch.shards import Shard, spread_sample
from mnist_batch.sources.label_file import LabelsById
from mnist_batch.sources.listing import list_input_folders

if TYPE_CHECKING:
    from mnist_batch.model.loading import LoadedModel
    from mnist_batch.model.predictor import TensorFlowPredictor

# Called as rows are done: rows so far, rows in all. May raise to stop the run, whose state is kept.
Watch = Callable[[int, int], None]


def no_watch(done: int, rows: int) -> None:
    """For runs that nobody watches."""


# Seconds, after which TensorFlow is imported while planning goes on: by then most inputs that are wrong were refused.
_SOON = 0.2

# Errors after which another start would be another run (2, 65, 66, 78): what was staged is of no use to it.
_HOPELESS = (2, 65, 66, 78)


@dataclass(frozen=True, slots=True)
class _ScoredShards:
    """All shards. resumed: how many of them an earlier start had finished; rows: those of the others, scored in so many
    seconds; warnings: what the model itself had doubts about.
    """

    totals: RunTally
    resumed: int
    rows: int
    model: LoadedModel
    seconds: float
    warnings: Sequence[str]


def run_job(config: PredictConfig, watch: Watch = no_watch) -> Result:
    """Scores every image of the inputs into `config.output`, complete or not at all.

    Raises MnistBatchError. After an error of the input, the model or the options nothing staged is kept; after any
    other the next start goes on with what was scored.
    """
    started = time.monotonic()
    # A slip of the pen is told before the output folder is made.
    _check_apart(config.output, list_input_folders(config.inputs))
    resolve_model(config.model)
    earlier = None if config.baseline is None else read_baseline(config.baseline)
    store = OutputStore(config.output)
    store.check_ownership(locked=False)
    with hold_lock(config.output), pause_garbage_collection() as search_again:
        store.check_ownership(locked=True)
        store.roll_forward()
        manifest = store.manifest()
        with import_in_background("mnist_batch.model.predictor", _SOON) if manifest is None else nullcontext():
            plan = make_plan(config)
        if manifest is not None and manifest["fingerprint"] == plan.mark and store.is_intact(manifest):
            return _judge_again(config, store, manifest, started)
        _check_can_start(config, store, manifest, plan)
        interrupted_run = store.interrupted_run()
        if interrupted_run is None or interrupted_run["fingerprint"] != plan.mark:
            store.start_run({"fingerprint": plan.mark, "facts": plan.facts}, plan.inputs.files)
        try:
            scored = _score(config, store, plan, watch, search_again)
            _reconcile(config, store, plan, scored.totals)
            return _commit(config, store, plan, scored, earlier, started)
        except MnistBatchError as error:
            if error.exit_code in _HOPELESS:
                store.discard()
            raise


def _score(
    config: PredictConfig, store: OutputStore, plan: Plan, watch: Watch, loaded: Callable[[], None]
) -> _ScoredShards:
    """Scores the shards that are missing. loaded: called when the model is."""
    # TensorFlow comes in only now, when all that can be refused without it has been.
    from mnist_batch.model.loading import load_model
    from mnist_batch.model.predictor import TensorFlowPredictor

    model = load_model(plan.model_path, config.scale)
    if model.digest != plan.facts["model_sha256"]:
        raise ModelError(f"{config.model}: must not change while a run starts, is another model by now: start again")
    predictor = TensorFlowPredictor(model, config.batch_size)
    loaded()
    started = time.monotonic()
    job = ScoringJob(
        sources=plan.inputs.sources,
        stamps=plan.inputs.stamps,
        labels=plan.labels,
        preprocess_options=config.reading.preprocess_options,
        batch_size=config.batch_size,
        format=config.format,
        probabilities=config.probabilities,
        staging=store.staging,
        metadata={
            "version": plan.facts["versions"]["mnist-batch"],
            "model_sha256": model.digest,
            "fingerprint": plan.mark,
        },
    )
    totals = RunTally()
    for shard, result in _read_finished(store, plan.shards):
        totals.add(shard, result)
    resumed, done = len(totals), totals.rows

    def heartbeat(rows: int) -> None:
        nonlocal done
        done += rows
        watch(done, plan.inputs.rows)

    doubt = _check_transposed(job, plan.shards[0], predictor)
    missing = [shard for shard in plan.shards if shard not in totals]
    for result in local.score(job, missing, predictor, heartbeat):
        totals.add(plan.shards[result.index], result)
    rows = sum(shard.rows for shard in missing)
    return _ScoredShards(totals, resumed, rows, model, time.monotonic() - started, [doubt] if doubt else [])


def _read_finished(store: OutputStore, shards: Iterable[Shard]) -> Iterator[tuple[Shard, ShardResult]]:
    """What an earlier start finished. Of what is damaged nothing is taken over: it is scored again."""
    for shard in shards:
        record = store.read_shard_record(shard.index)
        if record is not None and (result := ShardResult.from_json(record, shard)) is not None:
            yield shard, result


def _check_transposed(job: ScoringJob, shard: Shard, predictor: TensorFlowPredictor) -> str | None:
    """What the model says of the way the images lie, asked about a sample of the first shard."""
    with closing(job.readers()) as readers:
        parts = [readers.read(span).pixels for span in spread_sample(shard.spans, SAMPLE_ROWS, SAMPLE_POSITIONS)]
    images = np.concatenate(parts)
    batches = [images[first : first + job.batch_size] for first in range(0, len(images), job.batch_size)]
    return check_transposed(batches, predictor, job.preprocess_options.transpose)


def _reconcile(config: PredictConfig, store: OutputStore, plan: Plan, totals: RunTally) -> None:
    """Every planned row came out once, under an id of its own, and a label file belonged to these rows."""
    if len(totals) != len(plan.shards):
        raise MnistBatchError(
            f"every shard must come out once, of {len(plan.shards)} shards {len(totals)} did: "
            "this is a bug, please report it"
        )
    tally = totals.tally
    if isinstance(plan.labels, LabelsById) and tally.predicted and not tally.labelled:
        raise InputError(
            f"{config.reading.labels}: its ids must be those of the predictions, none of {len(plan.labels.ids)} is "
            f"(the first is {plan.labels.ids[0].as_py()!r}): compare them with the ids that `--labels none` gives"
        )
    if config.reading.id_column is not None:  # ids that we give are unique by how they are made
        check_unique_ids(store.staging, sink_for(config.format))


def _commit(
    config: PredictConfig,
    store: OutputStore,
    plan: Plan,
    scored: _ScoredShards,
    earlier: dict[str, Any] | None,
    started: float,
) -> Result:
    """Reports on the shards, and makes them the folder's set. earlier: the report this one is compared with."""
    model, totals = scored.model, scored.totals
    finished = datetime.now(UTC).isoformat(timespec="seconds")
    report: dict[str, Any] = build_report(totals.tally, plan.profile) | {
        "skipped": dict(sorted(plan.inputs.skipped.items())),
        "model": {
            "name": printable(config.model),
            "sha256": model.digest,
            "scale": model.scale,
            "output": model.output,
            "carded": model.carded,
        },
        "run": {
            "inputs": [printable(name) for name in config.inputs[:MAX_LISTED]],
            "more_inputs": max(0, len(config.inputs) - MAX_LISTED),
            "finished": finished,
            "version": plan.facts["versions"]["mnist-batch"],
            "fingerprint": plan.mark,
        },
        "timings": {
            "start": time.monotonic() - started - scored.seconds,
            "score": scored.seconds,
            "stages": totals.seconds,
        },
    }
    report |= _report_preprocessing(config, plan, scored, report["drift"])
    report["baseline"] = compare_with_baseline(report, config.baseline, earlier)
    gates = judge(report, config.max_reject_rate, config.min_accuracy)
    manifest = {
        "model": report["model"],
        "finished": finished,
        "fingerprint": plan.mark,
        "facts": plan.facts,
        "gates": [asdict(gate) for gate in gates],
        "rows": plan.inputs.rows,
        "resumed_shards": scored.resumed,
        # Where the model failed on whole batches, last bits may differ from those of a run in which it did not.
        "halved_batches": totals.batch_splits,
        "files": list_inline(plan.inputs.files),
        "parts": totals.files,
    }
    store.stage_documents(report, render_page(report, manifest["gates"]), manifest)
    store.commit(passed=all(gate.passed for gate in gates), listing=manifest["files"] is None)
    seconds = time.monotonic() - started
    return Result(config, report, gates, plan.mark, seconds, False, scored.resumed, scored.rows)


def _report_preprocessing(
    config: PredictConfig, plan: Plan, scored: _ScoredShards, drift: dict[str, Any] | None
) -> dict[str, Any]:
    """What was done to the images before they were scored, and what somebody should look at."""
    by_source: dict[str, Counter[str]] = {}
    for source, counts in scored.totals.preprocessing.items():
        by_source.setdefault(plan.inputs.sources[source].name, Counter()).update(counts)
    total: Counter[str] = sum(by_source.values(), Counter())
    mode = config.reading.preprocess_options.mode
    return {
        "preprocessing": {"mode": mode, **{treatment.value: total[treatment] for treatment in Preprocessing}},
        "warnings": [*preprocessing_warnings(by_source), *scored.warnings, *drift_warnings(drift)],
    }


def _judge_again(config: PredictConfig, store: OutputStore, manifest: dict[str, Any], started: float) -> Result:
    """The set that is there, held against this start's gates."""
    report = store.report()
    if report is None or report.get("report_version") != REPORT_VERSION:
        raise OutputError(f"{config.output}/report.json: must be what the run wrote, is not: remove the folder")
    gates = judge(report, config.max_reject_rate, config.min_accuracy)
    verdict = [asdict(gate) for gate in gates]
    if manifest.get("gates") != verdict:
        store.replace_verdict(render_page(report, verdict), manifest | {"gates": verdict})
    store.set_success(all(gate.passed for gate in gates))
    mark, interrupted_run = manifest["fingerprint"], store.interrupted_run()
    if (
        interrupted_run is None or interrupted_run["fingerprint"] == mark
    ):  # an interrupted run that is another's is kept for its next start
        store.discard()
    return Result(config, report, gates, mark, time.monotonic() - started, already_done=True)


def _check_can_start(config: PredictConfig, store: OutputStore, manifest: dict[str, Any] | None, plan: Plan) -> None:
    """Raises OutputError, naming what differs, where the folder holds another run and may not be overwritten."""
    interrupted_run = store.interrupted_run()
    if config.overwrite or (interrupted_run is not None and interrupted_run["fingerprint"] == plan.mark):
        return
    if manifest is not None:
        changes = list_differences(manifest["facts"], plan.facts, store.read_set_files(manifest), plan.inputs.files)
        held = "a complete set that differs" if changes else "this set, but parts of it are missing or changed"
    elif interrupted_run is not None:
        changes = list_differences(
            interrupted_run["facts"], plan.facts, store.interrupted_run_files(), plan.inputs.files
        )
        held = "an interrupted run that differs"
    else:
        return
    printable = f" ({'; '.join(changes[:MAX_LISTED])})" if changes else ""
    raise OutputError(
        f"{config.output}: must hold this run or none, holds {held}{printable}: choose another --output, or --overwrite"
    )


def _check_apart(output: Path, folders: Iterable[Path]) -> None:
    """An output within the input would be read as input by the next run."""
    where = output.resolve()
    for folder in folders:
        if where.is_relative_to(folder.resolve()):
            raise UsageError(
                f"--output {output}: must lie outside of the input, lies in {folder}: choose another place"
            )
