"""What every engine must do. A new engine is one more entry of `ENGINES`."""

import pickle
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from contracts import write_idx_pair

from mnist_batch.api import build_config
from mnist_batch.errors import InputError
from mnist_batch.model.card import model_digest
from mnist_batch.output.environment import read_environment
from mnist_batch.output.files import FileRecord
from mnist_batch.run.engines.local import LocalEngine
from mnist_batch.run.engines.protocol import Engine
from mnist_batch.run.plan import Plan, make_plan
from mnist_batch.run.scoring import ModelReference, ScoringJob, load_predictor
from mnist_batch.run.shard_result import RunTally
from mnist_batch.timing import never_stop

ENGINES: dict[str, Callable[[ScoringJob], Engine]] = {"local": lambda job: LocalEngine(load_predictor(job))}
Files = dict[str, bytes]


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """60 rows in 7 shards."""
    source = write_idx_pair(tmp_path / "in")
    return make_plan(build_config(source, output=tmp_path / "out", rows_per_part=9))


@pytest.fixture
def job(plan: Plan, tmp_path: Path) -> ScoringJob:
    return job_in(tmp_path / "staging", plan)


def job_in(staging: Path, plan: Plan) -> ScoringJob:
    for part in ("predictions", "rejects", "shards"):
        (staging / part).mkdir(parents=True)
    config = build_config("in", output="out")
    return ScoringJob(
        sources=plan.inputs.sources,
        stamps=plan.inputs.stamps,
        labels=None,
        preprocess_options=config.reading.preprocess_options,
        model=ModelReference(plan.model_path, model_digest(plan.model_path), plan.fingerprint_inputs.card, None),
        batch_size=16,
        format=config.format,
        probabilities=True,
        staging=staging,
        metadata={},
    )


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, job: ScoringJob) -> Engine:
    return ENGINES[request.param](job)


def read_parts(staging: Path) -> Files:
    return {str(path.relative_to(staging)): path.read_bytes() for path in staging.rglob("part-*")}


def test_every_shard_is_scored_once(engine: Engine, job: ScoringJob, plan: Plan) -> None:
    results = list(engine.run(job, iter(plan.shards), lambda _: None, never_stop))
    assert sorted(result.index for result in results) == list(range(7))
    assert sum(result.rows for result in results) == 60
    assert len(read_parts(job.staging)) == 7
    assert len(list((job.staging / "shards").iterdir())) == 7


def test_the_order_of_shards_changes_no_byte(engine: Engine, job: ScoringJob, plan: Plan, tmp_path: Path) -> None:
    list(engine.run(job, plan.shards, lambda _: None, never_stop))
    other = replace(job, staging=tmp_path / "other")
    for part in ("predictions", "rejects", "shards"):
        (other.staging / part).mkdir(parents=True)
    list(engine.run(other, [plan.shards[i] for i in (6, 0, 3)], lambda _: None, never_stop))
    some, everything = read_parts(other.staging), read_parts(job.staging)
    assert len(some) == 3
    assert some.items() <= everything.items()


def test_results_tell_the_environment(engine: Engine, job: ScoringJob, plan: Plan) -> None:
    (result,) = engine.run(job, plan.shards[:1], lambda _: None, never_stop)
    assert result.environment == read_environment()


def test_shards_are_taken_one_by_one(engine: Engine, job: ScoringJob, plan: Plan) -> None:
    """An engine that takes all shards first would hold all of a large run."""
    taken = []

    def shards() -> Iterator[object]:
        for shard in [replace(plan.shards[0], index=index) for index in range(100)]:
            taken.append(shard)
            yield shard

    results = engine.run(job, shards(), lambda _: None, never_stop)  # type: ignore[arg-type]  # shards
    next(results)
    assert len(taken) < 50
    results.close()  # type: ignore[attr-defined]  # a generator


def test_progress_counts_rows(engine: Engine, job: ScoringJob, plan: Plan) -> None:
    done: list[int] = []
    list(engine.run(job, plan.shards, done.append, never_stop))
    assert done == sorted(done)
    assert done[-1] == 60


def test_a_stop_ends_the_run(engine: Engine, job: ScoringJob, plan: Plan) -> None:
    class Stopped(Exception):
        pass

    done: list[int] = []

    def stop_after_two() -> None:
        if done and done[-1] >= 18:
            raise Stopped

    with pytest.raises(Stopped):
        list(engine.run(job, plan.shards, done.append, stop_after_two))
    assert len(list((job.staging / "predictions").iterdir())) < 7


def test_a_failure_names_its_shard(engine: Engine, job: ScoringJob, plan: Plan) -> None:
    path = next(iter(job.stamps[0]))
    results = engine.run(job, iter(plan.shards), lambda _: None, never_stop)
    next(results)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError) as caught:
        list(results)
    assert "in shard " in " ".join(caught.value.__notes__)


def test_jobs_and_results_pickle(engine: Engine, job: ScoringJob, plan: Plan) -> None:
    (result,) = engine.run(pickle.loads(pickle.dumps(job)), plan.shards[:1], lambda _: None, never_stop)
    assert pickle.loads(pickle.dumps(result)).files == result.files


def test_a_shard_that_arrives_twice_is_ignored_if_equal(engine: Engine, job: ScoringJob, plan: Plan) -> None:
    (shard,) = plan.shards[:1]
    results = [next(engine.run(job, [shard], lambda _: None, never_stop)) for _ in range(2)]
    tally = RunTally()
    for result in results:
        tally.add(shard, result)
    assert tally.rows == 9
    other = replace(results[0], files=dict.fromkeys(results[0].files, FileRecord(1, "")))
    with pytest.raises(AssertionError, match="shard 0 was scored twice, with different results"):
        tally.add(shard, other)


def test_temporary_names_differ_by_attempt(job: ScoringJob, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two workers that score the same shard must not write the same temporary file."""
    names: list[str] = []
    rename = Path.rename

    def note(path: Path, target: Path) -> Path:
        names.append(path.name)
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", note)
    predictor = load_predictor(job)
    for _ in range(2):
        list(LocalEngine(predictor).run(job, plan.shards[:1], lambda _: None, never_stop))
    assert len(set(names)) == len(names) == 4
