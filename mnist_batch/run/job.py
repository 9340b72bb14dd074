"""`run_job`: plan, score, report, commit. The whole flow of a run is here; its parts are in the modules beside it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mnist_batch.config import PredictConfig
from mnist_batch.documents import DocumentError
from mnist_batch.errors import InputError, InputMissingError, ModelError, OutputError, ScoringError, UsageError
from mnist_batch.model.bundled import resolve_model
from mnist_batch.output.environment import list_environment_differences
from mnist_batch.output.fingerprint import MAX_LISTED, FingerprintInputs, list_differences, list_inline
from mnist_batch.output.formats import sink_for
from mnist_batch.output.lock import hold_lock
from mnist_batch.output.manifest import MANIFEST_VERSION, Manifest, Run
from mnist_batch.output.store import OutputStore
from mnist_batch.output.unique import check_unique_ids, find_first_absent, read_staged_ids
from mnist_batch.records import RejectReason
from mnist_batch.report.document import Report
from mnist_batch.report.gates import judge_gates
from mnist_batch.run.engines.local import LocalEngine
from mnist_batch.run.plan import Plan, make_plan
from mnist_batch.run.reports import build_run_report, compare_with_baseline, read_report, render_page
from mnist_batch.run.result import Result
from mnist_batch.run.sample_check import check_sample
from mnist_batch.run.scoring import ModelReference, ScoredShards, ScoringJob, load_predictor
from mnist_batch.run.shard_result import RunTally, ShardResult, decode_result
from mnist_batch.runtime import import_in_background, pause_garbage_collection
from mnist_batch.shards import Shard, spread_sample
from mnist_batch.sources.label_file import LabelsById
from mnist_batch.sources.listing import list_input_folders
from mnist_batch.timing import ProgressCallback, StopCheck, ignore_progress, never_stop

if TYPE_CHECKING:
    from mnist_batch.model.predictor import TensorFlowPredictor

# Planning that takes longer than this overlaps with the import of TensorFlow. Most invalid inputs are rejected sooner.
_IMPORT_DELAY_SECONDS = 0.2
_PREDICTOR = "mnist_batch.model.predictor"
# A run ends if the model fails on its first images, as many as these. Scoring each of them alone takes time.
_HOPELESS_ROWS = 10_000


def run_job(
    config: PredictConfig, progress: ProgressCallback = ignore_progress, check_stop: StopCheck = never_stop
) -> Result:
    """Scores every image of the inputs into `config.output`, completely or not at all.

    Raises MnistBatchError, or what `check_stop` raises. After an error in the input, the model or the options, staged
    parts are deleted, because no later start can use them. After any other error, the next start continues with them.
    """
    started = time.monotonic()
    # Reject mistyped inputs and models before creating the output folder.
    _check_output_apart(config)
    resolve_model(config.model)
    baseline = None if config.baseline is None else read_report(config.baseline)
    store = OutputStore(config.output)
    # Checked before locking, so that no lock file is written into somebody else's folder, and again under the lock.
    store.check_ownership(locked=False)
    with hold_lock(config.output), pause_garbage_collection() as resume_garbage_collection:
        store.check_ownership(locked=True)
        store.roll_forward()
        manifest = _read_manifest(store, config.overwrite)
        # A folder with a manifest probably holds this run already. Then TensorFlow is not needed.
        needs_tensorflow = manifest is None
        with import_in_background(_PREDICTOR, _IMPORT_DELAY_SECONDS) if needs_tensorflow else nullcontext():
            plan = make_plan(config)
        damage = None
        if manifest is not None and manifest.fingerprint == plan.fingerprint:
            report, damage = _read_complete_set(store, manifest)
            if report is not None:
                return _judge_again(config, store, manifest, report, started)
        interrupted = store.interrupted_run()
        if interrupted is None or interrupted.fingerprint != plan.fingerprint:
            if not config.overwrite:
                _check_no_other_run(config, store, plan, manifest, interrupted, damage)
            store.start_run(Run(plan.fingerprint, plan.fingerprint_inputs), plan.inputs.files)
        else:  # this start continues the interrupted run: its staged parts are kept
            store.create_staging_folders()
        try:
            scored = _score(config, store, plan, progress, check_stop, resume_garbage_collection)
            warnings = _reconcile(config, store, plan, scored.run_tally)
            scored = replace(scored, warnings=[*scored.warnings, *warnings])
            return _commit(config, store, plan, scored, baseline, started)
        except (UsageError, InputError, InputMissingError, ModelError):
            store.discard()
            raise


def _score(
    config: PredictConfig,
    store: OutputStore,
    plan: Plan,
    progress: ProgressCallback,
    check_stop: StopCheck,
    on_loaded: Callable[[], None],
) -> ScoredShards:
    """Loads the model and scores the shards that no earlier start has finished. on_loaded: called after loading."""
    job = ScoringJob(
        sources=plan.inputs.sources,
        stamps=plan.inputs.stamps,
        labels=plan.labels,
        preprocess_options=config.reading.preprocess_options,
        model=ModelReference(
            plan.model_path, plan.fingerprint_inputs.model_sha256, plan.fingerprint_inputs.card, config.scale
        ),
        batch_size=config.batch_size,
        format=config.format,
        probabilities=config.probabilities,
        staging=store.staging,
        metadata={
            "version": plan.environment.versions["mnist-batch"],
            "model_sha256": plan.fingerprint_inputs.model_sha256,
            "fingerprint": plan.fingerprint,
        },
    )
    # TensorFlow is imported only now, after everything that can be rejected without it.
    predictor = load_predictor(job)
    on_loaded()
    started = time.monotonic()
    run_tally = RunTally()
    for shard in plan.shards:
        if (finished := _read_finished(store, shard)) is not None:
            run_tally.add(shard, finished)
    resumed, resumed_rows = len(run_tally), run_tally.rows

    def report_rows(done: int) -> None:
        progress(resumed_rows + done, plan.inputs.rows)

    warnings = [*predictor.model.warnings, *_check_sample(plan, job, predictor)]
    missing = [shard for shard in plan.shards if shard not in run_tally]
    for result in LocalEngine(predictor).run(job, missing, report_rows, check_stop):
        _check_environment(result, plan)
        run_tally.add(plan.shards[result.index], result)
        _check_model_scores(run_tally, _HOPELESS_ROWS)
    _check_model_scores(run_tally, 1)
    rows = sum(shard.rows for shard in missing)
    return ScoredShards(
        run_tally=run_tally,
        resumed=resumed,
        rows=rows,
        model=predictor.model,
        seconds=time.monotonic() - started,
        warnings=warnings,
    )


def _check_model_scores(run_tally: RunTally, rows: int) -> None:
    """Raises ScoringError if the model has scored nothing, and failed on at least this many images."""
    tally = run_tally.tally
    failed = tally.rejects[RejectReason.UNSCORABLE]
    if failed >= rows and not tally.predicted:
        example = tally.reject_examples[RejectReason.UNSCORABLE][0]
        raise ScoringError(
            f"the model must score at least one of {failed:,} images, but failed on all ({example.detail}): "
            "try another --model or a smaller --batch-size"
        )


def _check_environment(result: ShardResult, plan: Plan) -> None:
    """Raises ScoringError if a shard was scored in another environment than the run was planned in."""
    if result.environment not in (None, plan.environment):
        found = list_environment_differences(plan.environment, result.environment)
        raise ScoringError(
            f"shard {result.index}: workers must have the environment of the run, one differs ({found}): "
            "install the same versions on machines of one kind"
        )


def _check_sample(plan: Plan, job: ScoringJob, predictor: TensorFlowPredictor) -> list[str]:
    """Returns a warning if a sample of the first shard does not look like what the model was trained on."""
    with closing(job.readers()) as readers:
        images = np.concatenate([readers.read(span).pixels for span in spread_sample(plan.shards[0].spans)])
    batches = [images[first : first + job.batch_size] for first in range(0, len(images), job.batch_size)]
    confidence = predictor.model.result.confidence
    return check_sample(batches, predictor, job.preprocess_options.transpose, confidence)


def _reconcile(config: PredictConfig, store: OutputStore, plan: Plan, run_tally: RunTally) -> list[str]:
    """Checks the whole run. `RunTally.add` has checked that every row of a shard came out once. Returns warnings.

    Raises InputError if no id of a label file is an id of a row, or if the ids of an id column are not unique.
    """
    if len(run_tally) != len(plan.shards):
        raise AssertionError(f"{len(run_tally)} of {len(plan.shards)} shards came out")
    tally = run_tally.tally
    if isinstance(plan.labels, LabelsById) and tally.predicted and not tally.labelled:
        raise InputError(
            f"{config.reading.labels}: must hold ids of predictions, none of its {len(plan.labels.ids)} ids is one "
            f"(the first is {plan.labels.ids[0].as_py()!r}): compare them with the ids that `--labels none` gives"
        )
    sink = sink_for(config.format)
    if config.reading.id_column is not None:  # ids made by this program are unique by construction
        check_unique_ids(store.staging, sink)
    if not isinstance(plan.labels, LabelsById) or tally.labelled == tally.predicted:
        return []
    unmatched = find_first_absent(plan.labels.ids, read_staged_ids(store.staging, sink))
    first = "" if unmatched is None else f" (the first of its ids that is not one is {unmatched!r})"
    return [
        f"{config.reading.labels}: {tally.labelled:,} of its {len(plan.labels.ids):,} ids are ids of predictions, and "
        f"{tally.predicted - tally.labelled:,} of {tally.predicted:,} predictions have no label{first}"
    ]


def _commit(
    config: PredictConfig,
    store: OutputStore,
    plan: Plan,
    scored: ScoredShards,
    baseline: Report | None,
    started: float,
) -> Result:
    """Writes report and manifest, and publishes the staged parts. baseline: the report to compare with."""
    finished = datetime.now(UTC).isoformat(timespec="seconds")
    report = build_run_report(config, plan, scored, finished, started)
    report = compare_with_baseline(report, config.baseline, baseline)
    gates = judge_gates(report, config.max_reject_rate, config.min_accuracy, config.strict)
    manifest = Manifest(
        manifest_version=MANIFEST_VERSION,
        model=report.model,
        finished=finished,
        fingerprint=plan.fingerprint,
        fingerprint_inputs=plan.fingerprint_inputs,
        gates=gates,
        rows=plan.inputs.rows,
        resumed_shards=scored.resumed,
        batch_splits=scored.run_tally.batch_splits,
        files=list_inline(plan.inputs.files),
        parts=scored.run_tally.files,
    )
    store.stage_documents(report, render_page(report, gates), manifest)
    # The listing of many input files is a file of its own, not part of the manifest.
    store.commit(passed=all(gate.passed for gate in gates), listing=manifest.files is None)
    return Result(
        config,
        report,
        gates,
        plan.fingerprint,
        seconds=time.monotonic() - started,
        already_done=False,
        resumed=scored.resumed,
        scored=scored.rows,
    )


def _read_manifest(store: OutputStore, overwrite: bool) -> Manifest | None:
    """Returns the manifest of the complete set, or None if there is none. With --overwrite, a damaged one is none."""
    try:
        return store.manifest()
    except DocumentError as error:
        if overwrite:
            return None
        raise OutputError(
            f"{store.path}/manifest.json: must be as a run wrote it, found {error}: "
            "choose another --output, or pass --overwrite"
        ) from error


def _read_complete_set(store: OutputStore, manifest: Manifest) -> tuple[Report | None, str | None]:
    """Returns the report of the complete set, or None and what of the set is missing or changed."""
    try:
        damage = store.find_damage(manifest)
        return (store.report(), None) if damage is None else (None, damage)
    except DocumentError as error:
        return None, f"report.json: {error}"


def _read_finished(store: OutputStore, shard: Shard) -> ShardResult | None:
    """Returns the result of a shard that an earlier start has finished. None if its record or a part is damaged."""
    record = store.read_shard_record(shard.index)
    try:
        result = None if record is None else decode_result(record, shard)
    except DocumentError:
        return None
    return result if result is not None and store.has_staged(result.files) else None


def _judge_again(
    config: PredictConfig, store: OutputStore, manifest: Manifest, report: Report, started: float
) -> Result:
    """Applies the gates of this start to the finished run in the output folder. Its report stays as it is."""
    gates = judge_gates(report, config.max_reject_rate, config.min_accuracy, config.strict)
    if manifest.gates != gates:
        store.replace_verdict(render_page(report, gates), replace(manifest, gates=gates))
    store.set_success(all(gate.passed for gate in gates))
    fingerprint, interrupted = manifest.fingerprint, store.interrupted_run()
    if interrupted is None or interrupted.fingerprint == fingerprint:  # keep another run's parts for its next start
        store.discard()
    return Result(config, report, gates, fingerprint, seconds=time.monotonic() - started, already_done=True)


def _check_no_other_run(
    config: PredictConfig,
    store: OutputStore,
    plan: Plan,
    manifest: Manifest | None,
    interrupted: Run | None,
    damage: str | None,
) -> None:
    """Raises OutputError, naming the differences, if the folder holds another run or a damaged set of this one.

    damage: what of the complete set is missing or changed.
    """
    now, files = plan.fingerprint_inputs, plan.inputs.files
    if manifest is not None and damage is not None:
        held, changes = "this run, but parts of it are missing or changed", [damage]
    elif manifest is not None:
        before = manifest.fingerprint_inputs
        held = f"a finished run {_name_version(before, now)}that differs"
        changes = list_differences(before, now, store.read_set_files(manifest), files)
    elif interrupted is not None:
        before = interrupted.fingerprint_inputs
        held = f"an interrupted run {_name_version(before, now)}that differs"
        changes = list_differences(before, now, store.interrupted_run_files(), files)
    else:
        return
    differences = f" ({'; '.join(changes[:MAX_LISTED])})" if changes else ""
    raise OutputError(
        f"{config.output}: must hold this run or none, but holds {held}{differences}: "
        "choose another --output, or pass --overwrite"
    )


def _name_version(before: FingerprintInputs, now: FingerprintInputs) -> str:
    """Names the version that wrote a run if it is not this one. Ends with a space."""
    return "" if before.version == now.version else f"of mnist-batch {before.version} "


def _check_output_apart(config: PredictConfig) -> None:
    """Raises UsageError if the output is inside an input, or an input or the label file inside the output.

    The next run would read the output as input, or the input would be replaced.
    """
    output, labels = config.output.resolve(), config.reading.labels
    folders, parents = list_input_folders(config.inputs, config.reading.listed)
    for folder in folders:
        if output.is_relative_to(folder.resolve()):
            raise UsageError(
                f"--output {config.output}: must be outside the input, is in {folder}: choose another folder"
            )
    for folder in [*folders, *parents, *([labels.parent] if isinstance(labels, Path) else [])]:
        if folder.resolve().is_relative_to(output):
            raise UsageError(
                f"--output {config.output}: must not hold the input or its labels, holds {folder}: "
                "choose another folder"
            )
