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
from mnist_batch.names import shown
from mnist_batch.output.formats import sink_for
from mnist_batch.output.lock import locked
from mnist_batch.output.manifest import SHOWN, differences, listed
from mnist_batch.output.store import OutputStore
from mnist_batch.output.unique import check_unique_ids
from mnist_batch.records import Treatment
from mnist_batch.report.document import REPORT_VERSION, report_of
from mnist_batch.report.drift import drift_warnings
from mnist_batch.report.gates import judge
from mnist_batch.report.preprocessing import preprocessing_warnings
from mnist_batch.run.engines import local
from mnist_batch.run.inspection import SAMPLE_PLACES, SAMPLE_ROWS
from mnist_batch.run.plan import Plan, planned
from mnist_batch.run.reports import comparison, page_of, read_baseline
from mnist_batch.run.result import Result
from mnist_batch.run.scoring import ScoringJob, ShardResult
from mnist_batch.run.totals import Totals
from mnist_batch.run.transpose_check import transposition_warning
from mnist_batch.runtime import garbage_spared, imported_beside
from mnist_batch.shards import Shard, spread
from mnist_batch.sources.label_file import LabelsById
from mnist_batch.sources.listing import input_folders

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
class _Scored:
    """All shards. resumed: how many of them an earlier start had finished; rows: those of the others, scored in so many
    seconds; warnings: what the model itself had doubts about.
    """

    totals: Totals
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
    _check_apart(config.output, input_folders(config.inputs))
    resolve_model(config.model)
    earlier = None if config.baseline is None else read_baseline(config.baseline)
    store = OutputStore(config.output)
    store.check_ours(locked=False)
    with locked(config.output), garbage_spared() as search_again:
        store.check_ours(locked=True)
        store.roll_forward()
        manifest = store.manifest()
        with imported_beside("mnist_batch.model.predictor", _SOON) if manifest is None else nullcontext():
            plan = planned(config)
        if manifest is not None and manifest["fingerprint"] == plan.mark and store.is_intact(manifest):
            return _judged_again(config, store, manifest, started)
        _check_may_begin(config, store, manifest, plan)
        begun = store.begun()
        if begun is None or begun["fingerprint"] != plan.mark:
            store.begin({"fingerprint": plan.mark, "facts": plan.facts}, plan.inputs.files)
        try:
            scored = _scored(config, store, plan, watch, search_again)
            _reconcile(config, store, plan, scored.totals)
            return _committed(config, store, plan, scored, earlier, started)
        except MnistBatchError as error:
            if error.exit_code in _HOPELESS:
                store.discard()
            raise


def _scored(config: PredictConfig, store: OutputStore, plan: Plan, watch: Watch, loaded: Callable[[], None]) -> _Scored:
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
        preparation=config.reading.preparation,
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
    totals = Totals()
    for shard, result in _finished(store, plan.shards):
        totals.add(shard, result)
    resumed, done = len(totals), totals.rows

    def heartbeat(rows: int) -> None:
        nonlocal done
        done += rows
        watch(done, plan.inputs.rows)

    doubt = _orientation_doubt(job, plan.shards[0], predictor)
    missing = [shard for shard in plan.shards if shard not in totals]
    for result in local.score(job, missing, predictor, heartbeat):
        totals.add(plan.shards[result.index], result)
    rows = sum(shard.rows for shard in missing)
    return _Scored(totals, resumed, rows, model, time.monotonic() - started, [doubt] if doubt else [])


def _finished(store: OutputStore, shards: Iterable[Shard]) -> Iterator[tuple[Shard, ShardResult]]:
    """What an earlier start finished. Of what is damaged nothing is taken over: it is scored again."""
    for shard in shards:
        record = store.finished_shard(shard.index)
        if record is not None and (result := ShardResult.from_json(record, shard)) is not None:
            yield shard, result


def _orientation_doubt(job: ScoringJob, shard: Shard, predictor: TensorFlowPredictor) -> str | None:
    """What the model says of the way the images lie, asked about a sample of the first shard."""
    with closing(job.readers()) as readers:
        parts = [readers.read(span).pixels for span in spread(shard.spans, SAMPLE_ROWS, SAMPLE_PLACES)]
    images = np.concatenate(parts)
    batches = [images[first : first + job.batch_size] for first in range(0, len(images), job.batch_size)]
    return transposition_warning(batches, predictor, job.preparation.transpose)


def _reconcile(config: PredictConfig, store: OutputStore, plan: Plan, totals: Totals) -> None:
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


def _committed(
    config: PredictConfig,
    store: OutputStore,
    plan: Plan,
    scored: _Scored,
    earlier: dict[str, Any] | None,
    started: float,
) -> Result:
    """Reports on the shards, and makes them the folder's set. earlier: the report this one is compared with."""
    model, totals = scored.model, scored.totals
    finished = datetime.now(UTC).isoformat(timespec="seconds")
    report: dict[str, Any] = report_of(totals.tally, plan.profile) | {
        "skipped": dict(sorted(plan.inputs.skipped.items())),
        "model": {
            "name": shown(config.model),
            "sha256": model.digest,
            "scale": model.scale,
            "output": model.output,
            "carded": model.carded,
        },
        "run": {
            "inputs": [shown(name) for name in config.inputs[:SHOWN]],
            "more_inputs": max(0, len(config.inputs) - SHOWN),
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
    report |= _preprocessing(config, plan, scored, report["drift"])
    report["baseline"] = comparison(report, config.baseline, earlier)
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
        "halved_batches": totals.halvings,
        "files": listed(plan.inputs.files),
        "parts": totals.files,
    }
    store.stage_documents(report, page_of(report, manifest["gates"]), manifest)
    store.commit(passed=all(gate.passed for gate in gates), listing=manifest["files"] is None)
    seconds = time.monotonic() - started
    return Result(config, report, gates, plan.mark, seconds, False, scored.resumed, scored.rows)


def _preprocessing(config: PredictConfig, plan: Plan, scored: _Scored, drift: dict[str, Any] | None) -> dict[str, Any]:
    """What was done to the images before they were scored, and what somebody should look at."""
    by_source: dict[str, Counter[str]] = {}
    for source, counts in scored.totals.treatments.items():
        by_source.setdefault(plan.inputs.sources[source].name, Counter()).update(counts)
    total: Counter[str] = sum(by_source.values(), Counter())
    mode = config.reading.preparation.mode
    return {
        "preprocessing": {"mode": mode, **{treatment.value: total[treatment] for treatment in Treatment}},
        "warnings": [*preprocessing_warnings(by_source), *scored.warnings, *drift_warnings(drift)],
    }


def _judged_again(config: PredictConfig, store: OutputStore, manifest: dict[str, Any], started: float) -> Result:
    """The set that is there, held against this start's gates."""
    report = store.report()
    if report is None or report.get("report_version") != REPORT_VERSION:
        raise OutputError(f"{config.output}/report.json: must be what the run wrote, is not: remove the folder")
    gates = judge(report, config.max_reject_rate, config.min_accuracy)
    verdict = [asdict(gate) for gate in gates]
    if manifest.get("gates") != verdict:
        store.replace_verdict(page_of(report, verdict), manifest | {"gates": verdict})
    store.set_success(all(gate.passed for gate in gates))
    mark, begun = manifest["fingerprint"], store.begun()
    if begun is None or begun["fingerprint"] == mark:  # an interrupted run that is another's is kept for its next start
        store.discard()
    return Result(config, report, gates, mark, time.monotonic() - started, already_done=True)


def _check_may_begin(config: PredictConfig, store: OutputStore, manifest: dict[str, Any] | None, plan: Plan) -> None:
    """Raises OutputError, naming what differs, where the folder holds another run and may not be overwritten."""
    begun = store.begun()
    if config.overwrite or (begun is not None and begun["fingerprint"] == plan.mark):
        return
    if manifest is not None:
        changes = differences(manifest["facts"], plan.facts, store.set_files(manifest), plan.inputs.files)
        held = "a complete set that differs" if changes else "this set, but parts of it are missing or changed"
    elif begun is not None:
        changes = differences(begun["facts"], plan.facts, store.begun_files(), plan.inputs.files)
        held = "an interrupted run that differs"
    else:
        return
    shown = f" ({'; '.join(changes[:SHOWN])})" if changes else ""
    raise OutputError(
        f"{config.output}: must hold this run or none, holds {held}{shown}: choose another --output, or --overwrite"
    )


def _check_apart(output: Path, folders: Iterable[Path]) -> None:
    """An output within the input would be read as input by the next run."""
    where = output.resolve()
    for folder in folders:
        if where.is_relative_to(folder.resolve()):
            raise UsageError(
                f"--output {output}: must lie outside of the input, lies in {folder}: choose another place"
            )
