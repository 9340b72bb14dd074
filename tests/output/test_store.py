"""The output folder without a run: what a commit and a verdict do, in order, and what is noticed of a damaged set."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pytest
from report.rows import tally
from report.runs import report

from mnist_batch.api import build_config
from mnist_batch.config import OutputFormat
from mnist_batch.documents import DocumentError
from mnist_batch.errors import InputError, OutputError
from mnist_batch.output import store as store_module
from mnist_batch.output.files import FileRecord, write_text
from mnist_batch.output.formats import sink_for
from mnist_batch.output.manifest import MANIFEST_VERSION, Manifest, Run
from mnist_batch.output.store import OutputStore, list_staged_parts, write_part, write_shard_record
from mnist_batch.output.unique import check_unique_ids, find_first_absent, read_staged_ids
from mnist_batch.report.gates import Gate
from mnist_batch.run.plan import Plan, make_plan
from output.file_events import noted_events

PARQUET = sink_for(OutputFormat.PARQUET)
PARTS = {"predictions/part-00000.parquet": "one", "predictions/part-00001.parquet": "two"}
REJECTS = {"rejects/part-00001.parquet": "three"}
REPORT = report(tally([(3, 3, 0.9), (4, 5, 0.8)]))


@pytest.fixture(scope="module")
def plan(sample_data: Path) -> Plan:
    return make_plan(build_config(sample_data / "digits-images-idx3-ubyte", output="unused"))


@pytest.fixture
def store(tmp_path: Path) -> OutputStore:
    return OutputStore(tmp_path / "out")


def start_run(store: OutputStore, plan: Plan) -> None:
    store.path.mkdir(exist_ok=True)
    store.start_run(Run(plan.fingerprint, plan.fingerprint_inputs), plan.inputs.files)


def stage(store: OutputStore, plan: Plan, parts: Mapping[str, str], gates: tuple[Gate, ...] = ()) -> Manifest:
    """Stages a whole set whose parts hold these texts."""
    start_run(store, plan)
    files = {name: write_text(store.staging / name, text) for name, text in parts.items()}
    manifest = Manifest(
        manifest_version=MANIFEST_VERSION,
        model=REPORT.model,
        finished="2026-11-24T22:00:00+00:00",
        fingerprint=plan.fingerprint,
        fingerprint_inputs=plan.fingerprint_inputs,
        gates=gates,
        rows=2,
        resumed_shards=0,
        batch_splits=0,
        files=[],
        parts=files,
    )
    store.stage_documents(REPORT, "<html>", manifest)
    return manifest


def publish(store: OutputStore, plan: Plan, parts: Mapping[str, str], listing: bool = False) -> Manifest:
    manifest = stage(store, plan, parts)
    store.commit(passed=True, listing=listing)
    return manifest


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_set_without_an_older_one(store: OutputStore, plan: Plan) -> None:
    publish(store, plan, PARTS)
    assert names_in(store.path) == ["_SUCCESS", "manifest.json", "predictions", "report.html", "report.json"]
    assert {f"predictions/{name}" for name in names_in(store.path / "predictions")} == PARTS.keys()


def test_commit_has_its_order(store: OutputStore, plan: Plan) -> None:
    publish(store, plan, PARTS | REJECTS, listing=True)
    stage(store, plan, PARTS | REJECTS)
    with noted_events(store.path) as events:
        store.commit(passed=True, listing=True)
    assert events[:21] == [
        "fsync _work/.commit.json.tmp",
        "rename _work/.commit.json.tmp _work/commit.json",
        "fsync _work",
        "unlink _SUCCESS",
        "fsync .",
        "mkdir _work/old",
        "rename predictions _work/old/predictions",
        "fsync _work/old",
        "rename _work/predictions predictions",
        "rename rejects _work/old/rejects",
        "fsync _work/old",
        "rename _work/rejects rejects",
        "rename _work/files.arrow files.arrow",
        "rename _work/report.json report.json",
        "rename _work/report.html report.html",
        "rename _work/manifest.json manifest.json",
        "fsync .",
        "fsync ._SUCCESS.tmp",
        "rename ._SUCCESS.tmp _SUCCESS",
        "fsync .",
        "unlink _work/run.json",
    ]
    assert {event.split()[0] for event in events[21:]} == {"unlink", "rmdir"}
    assert all(" _work" in event for event in events[21:])
    # The journal is removed last, so that an interruption is noticed.
    assert events[-2:] == ["unlink _work/commit.json", "rmdir _work"]


def test_set_without_rejects_replaces_those_of_an_older_one(store: OutputStore, plan: Plan) -> None:
    publish(store, plan, PARTS | REJECTS, listing=True)
    publish(store, plan, {"predictions/part-00000.parquet": "new"})
    assert names_in(store.path) == ["_SUCCESS", "manifest.json", "predictions", "report.html", "report.json"]
    assert names_in(store.path / "predictions") == ["part-00000.parquet"]
    assert (store.path / "predictions" / "part-00000.parquet").read_text() == "new"


def test_failed_set_has_no_success(store: OutputStore, plan: Plan) -> None:
    publish(store, plan, PARTS)
    stage(store, plan, PARTS)
    store.commit(passed=False, listing=False)
    assert names_in(store.path) == ["manifest.json", "predictions", "report.html", "report.json"]


def test_verdict_has_its_order(store: OutputStore, plan: Plan) -> None:
    manifest = publish(store, plan, PARTS)
    with noted_events(store.path) as events:
        store.replace_verdict("<html>other", manifest)
        store.set_success(passed=True)
    assert events == [
        "unlink _SUCCESS",
        "fsync .",
        "fsync .report.html.tmp",
        "rename .report.html.tmp report.html",
        "fsync .",
        "fsync .manifest.json.tmp",
        "rename .manifest.json.tmp manifest.json",
        "fsync .",
        "fsync ._SUCCESS.tmp",
        "rename ._SUCCESS.tmp _SUCCESS",
        "fsync .",
    ]


def test_success_is_written_only_if_it_is_another(store: OutputStore, plan: Plan) -> None:
    publish(store, plan, PARTS)
    with noted_events(store.path) as events:
        store.set_success(passed=True)
        assert events == []
        (store.path / "_SUCCESS").write_text("0")
        store.set_success(passed=True)
        assert events[-2:] == ["rename ._SUCCESS.tmp _SUCCESS", "fsync ."]
        events.clear()
        store.set_success(passed=False)
        assert events == ["unlink _SUCCESS", "fsync ."]


def test_files_that_no_record_names_are_not_published(store: OutputStore, plan: Plan) -> None:
    manifest = stage(store, plan, PARTS)
    (store.staging / "predictions" / "part-00007.parquet").write_text("half")
    (store.staging / "rejects" / ".part-00007.parquet.tmp").write_text("half")
    with noted_events(store.path) as events:
        store.stage_documents(REPORT, "<html>", manifest)
    removed = ["unlink _work/predictions/part-00007.parquet", "fsync _work/predictions"]
    removed += ["unlink _work/rejects/.part-00007.parquet.tmp", "fsync _work/rejects"]
    assert events[:4] == removed
    store.commit(passed=True, listing=False)
    assert names_in(store.path / "predictions") == ["part-00000.parquet", "part-00001.parquet"]
    assert not (store.path / "rejects").exists()


def grow(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"x")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize("inline", [True, False])
def test_damage_is_named(inline: bool, store: OutputStore, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "_MAX_INLINE_PARTS", 3 if inline else 2)
    publish(store, plan, PARTS | REJECTS)
    manifest = store.manifest()
    assert manifest is not None
    assert (manifest.parts is not None) == inline
    assert (store.path / "parts.arrow").exists() == (not inline)
    assert store.find_damage(manifest) is None
    rejects = store.path / "rejects" / "part-00001.parquet"
    grow(rejects)
    assert store.find_damage(manifest) == "rejects/part-00001.parquet had 5 bytes, now 6"
    cut(rejects)
    assert store.find_damage(manifest) is None
    cut(store.path / "predictions" / "part-00001.parquet")
    assert store.find_damage(manifest) == "predictions/part-00001.parquet had 3 bytes, now 2"
    (store.path / "predictions" / "part-00000.parquet").unlink()
    assert store.find_damage(manifest) == "predictions/part-00000.parquet: No such file or directory"


def test_damaged_listing_of_parts_is_damage(store: OutputStore, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "_MAX_INLINE_PARTS", 1)
    publish(store, plan, PARTS)
    manifest = store.manifest()
    assert manifest is not None
    listing = store.path / "parts.arrow"
    whole = listing.read_bytes()
    other = pa.table({"name": ["a"], "size": [1]})
    with pa.OSFile(str(listing), "wb") as file, pa.ipc.new_file(file, other.schema) as writer:
        writer.write_table(other)
    assert store.find_damage(manifest) == "parts.arrow is missing or damaged"
    listing.write_bytes(whole[:-30])
    assert store.find_damage(manifest) == "parts.arrow is missing or damaged"
    listing.unlink()
    assert store.find_damage(manifest) == "parts.arrow is missing or damaged"
    listing.write_bytes(whole)
    assert store.find_damage(manifest) is None


def test_fewer_parts_remove_an_older_listing(store: OutputStore, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "_MAX_INLINE_PARTS", 1)
    publish(store, plan, PARTS)
    assert (store.path / "parts.arrow").exists()
    publish(store, plan, {"predictions/part-00000.parquet": "new"})
    assert not (store.path / "parts.arrow").exists()


def test_staged_parts_are_compared_by_their_bytes(store: OutputStore, plan: Plan) -> None:
    start_run(store, plan)
    records = {name: write_text(store.staging / name, text) for name, text in (PARTS | REJECTS).items()}
    assert store.has_staged(records)
    assert store.has_staged({})
    assert not store.has_staged({**records, "rejects/part-00009.parquet": FileRecord(0, "")})
    (store.staging / "rejects" / "part-00001.parquet").write_text("Three")
    assert not store.has_staged(records)


def test_shard_record_reads_back(store: OutputStore, plan: Plan) -> None:
    start_run(store, plan)
    assert store.read_shard_record(7) is None
    write_shard_record(store.staging, 7, b"record", "4f")
    assert store.read_shard_record(7) == b"record"
    assert names_in(store.staging / "shards") == ["00007.json.gz"]


def test_new_run_starts_empty(store: OutputStore, plan: Plan) -> None:
    stage(store, plan, PARTS | REJECTS)
    write_shard_record(store.staging, 0, b"record", "")
    start_run(store, plan)
    assert names_in(store.staging) == ["files.arrow", "predictions", "rejects", "run.json", "shards"]
    assert [name for part in ("predictions", "rejects", "shards") for name in names_in(store.staging / part)] == []
    interrupted, files = store.interrupted_run(), store.interrupted_run_files()
    assert interrupted is not None
    assert interrupted.fingerprint == plan.fingerprint
    assert files is not None
    assert files.equals(plan.inputs.files)


def test_run_is_forgotten_before_its_parts_are_removed(store: OutputStore, plan: Plan) -> None:
    stage(store, plan, PARTS)
    with noted_events(store.path) as events:
        store.discard()
    assert events[0] == "unlink _work/run.json"
    assert events[-1] == "rmdir _work"
    assert not store.staging.exists()


def test_an_empty_folder_has_no_documents(store: OutputStore) -> None:
    store.path.mkdir()
    assert store.manifest() is None
    assert store.interrupted_run() is None
    assert store.interrupted_run_files() is None
    with pytest.raises(DocumentError, match="no file"):
        store.report()


@pytest.mark.parametrize(
    "content", ["[]", "{", '{"fingerprint": "a"}', '{"fingerprint": "a", "parts": {}}', '{"facts": {}, "parts": {}}']
)
def test_file_of_somebody_else_is_no_manifest(content: str, store: OutputStore) -> None:
    store.path.mkdir()
    (store.path / "manifest.json").write_text(content)
    assert store.manifest() is None


def test_damaged_manifest_is_noticed(store: OutputStore) -> None:
    store.path.mkdir()
    (store.path / "manifest.json").write_text('{"fingerprint": "a", "facts": {}, "parts": {}}')
    with pytest.raises(DocumentError, match="missing required field"):
        store.manifest()


@pytest.mark.parametrize(
    "content", ['{"passed": true, "rejects": 1, "listing": false}', '{"passed": true, "rejects": null, "listing": 0}']
)
def test_damaged_journal_is_refused(content: str, store: OutputStore) -> None:
    store.staging.mkdir(parents=True)
    (store.staging / "commit.json").write_text(content)
    with pytest.raises(OutputError, match=r"commit\.json: must be as a run wrote it, found in `rejects`"):
        store.roll_forward()


def test_journal_of_a_later_version_is_refused(store: OutputStore) -> None:
    store.staging.mkdir(parents=True)
    fields = '"passed": true, "rejects": false, "listing": false'
    (store.staging / "commit.json").write_text(f'{{{fields}, "journal_version": 3}}')
    with pytest.raises(OutputError, match="journal_version 3, and this version of mnist-batch reads up to 2"):
        store.roll_forward()
    (store.staging / "commit.json").write_text(f'{{{fields}, "more": 1}}')
    with pytest.raises(OutputError, match="an unknown key `more`"):
        store.roll_forward()


def write_ids(store: OutputStore, part: str, index: int, ids: list[str]) -> None:
    write_part(PARQUET, pa.table({"id": ids}), store.staging, part, index, {}, "")


def test_staged_ids_come_in_order(store: OutputStore, plan: Plan) -> None:
    start_run(store, plan)
    for part, index, ids in (
        ("rejects", 0, ["r"]), ("predictions", 10, ["c"]), ("predictions", 2, ["b", "b2"]), ("predictions", 0, ["a"])
    ):  # fmt: skip
        write_ids(store, part, index, ids)
    assert [ids.to_pylist() for ids in read_staged_ids(store.staging, PARQUET)] == [["a"], ["b", "b2"], ["c"], ["r"]]
    assert [path.parent.name for path in list_staged_parts(store.staging, ".csv")] == []


def test_repeated_ids_are_named_with_their_number(store: OutputStore, plan: Plan) -> None:
    start_run(store, plan)
    write_ids(store, "predictions", 0, ["a", "b", "c", "d"])
    write_ids(store, "rejects", 0, ["e"])
    check_unique_ids(store.staging, PARQUET)
    write_ids(store, "rejects", 1, ["c"])
    with pytest.raises(InputError, match="'c' occurs in 2 rows"):
        check_unique_ids(store.staging, PARQUET)
    write_ids(store, "predictions", 1, ["d", "b", "f"])
    write_ids(store, "rejects", 1, ["b"])
    with pytest.raises(InputError, match="every id must be unique, 'b' occurs in 3 rows"):
        check_unique_ids(store.staging, PARQUET)


def test_the_first_absent_text_is_found() -> None:
    texts = pa.array(["a", "b", "c", "d"])
    assert find_first_absent(texts, [pa.array(["a"]), pa.array(["c", "x"])]) == "b"
    assert find_first_absent(texts, []) == "a"
    assert find_first_absent(texts, [texts]) is None
