"""An interrupted run continues where it stopped, with the same bytes. If anything differs, the start is refused."""

import gzip
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contracts import DIGITS, FORMS

from mnist_batch import predict
from mnist_batch.config import AutoLabels, OutputFormat, PredictConfig, ReadOptions
from mnist_batch.errors import ModelError, OutputError
from mnist_batch.model.bundled import BUNDLED
from mnist_batch.run.job import run_job
from mnist_batch.run.plan import Plan, make_plan
from mnist_batch.run.result import Result
from mnist_batch.sources import csv
from reliability.readers import parts_of, set_in

# A case takes less than a second, but there are many: the quick tests run one of each kind.
SLOW = pytest.mark.slow


class PulledPlugError(Exception):
    """Whatever ends a run from outside."""


@pytest.fixture
def digits(sample_data: Path, tmp_path: Path) -> Path:
    """The sample digits as a folder that a test may change. One of the 300 images is damaged."""
    folder = tmp_path / "digits"
    shutil.copytree(sample_data / "digits", folder)
    (folder / "0" / "0_020.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return folder


def config(digits: Path, output: Path, **options: Any) -> PredictConfig:
    """Options as in `PredictConfig`, with parts of 40 rows: eight shards."""
    return PredictConfig((str(digits),), output, **{"rows_per_part": 40, **options})


def start(digits: Path, output: Path, **options: Any) -> Result:
    return run_job(config(digits, output, **options))


def start_and_stop(shards: int, digits: Path, output: Path, **options: Any) -> None:
    """Starts a run and stops it in the middle of the shard that follows the first `shards` shards."""
    records = output / "_work" / "shards"

    def stop() -> None:
        if len(list(records.glob("*.json.gz"))) >= shards:
            raise PulledPlugError

    with pytest.raises(PulledPlugError):
        run_job(config(digits, output, **options), check_stop=stop)
    assert len(list(records.glob("*.json.gz"))) == shards


@pytest.mark.parametrize("format", [OutputFormat.PARQUET, pytest.param(OutputFormat.CSV, marks=SLOW)])
@pytest.mark.parametrize("shards", [4, *(pytest.param(shards, marks=SLOW) for shards in (0, 1, 7))])
def test_resumed_run_gives_the_same_bytes(shards: int, format: OutputFormat, digits: Path, tmp_path: Path) -> None:
    reference = start(digits, tmp_path / "reference", format=format)
    start_and_stop(shards, digits, tmp_path / "out", format=format)
    assert set_in(tmp_path / "out") is None
    result = start(digits, tmp_path / "out", format=format)
    assert result.resumed == shards
    assert result.scored == 300 - 40 * shards  # only the rows that this start scored
    assert set_in(result.output) == parts_of(reference.output)
    assert len(parts_of(result.output)) == 9


@pytest.mark.parametrize(
    "form", ["csv", *(pytest.param(form, marks=SLOW) for form in FORMS if form not in ("csv", "folder"))]
)
def test_every_form_is_resumed(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv, "_BLOCK_BYTES", 20_000)  # about ten rows
    (tmp_path / "in").mkdir()
    written = FORMS[form](tmp_path / "in", DIGITS)

    def options(output: str) -> PredictConfig:
        return PredictConfig((written.input,), tmp_path / output, written.options, rows_per_part=25, batch_size=16)

    def stop() -> None:
        if len(list((tmp_path / "out" / "_work" / "shards").glob("*.json.gz"))) >= 1:
            raise PulledPlugError

    run_job(options("reference"))
    with pytest.raises(PulledPlugError):
        run_job(options("out"), check_stop=stop)
    assert run_job(options("out")).resumed == 1
    assert set_in(tmp_path / "out") == parts_of(tmp_path / "reference")


def flip_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize("damage", [flip_bit, pytest.param(cut, marks=SLOW), pytest.param(Path.unlink, marks=SLOW)])
def test_damaged_part_is_scored_again(damage: Callable[[Path], None], digits: Path, tmp_path: Path) -> None:
    start(digits, tmp_path / "reference")
    start_and_stop(4, digits, tmp_path / "out")
    damage(tmp_path / "out" / "_work" / "predictions" / "part-00002.parquet")
    result = start(digits, tmp_path / "out")
    assert result.resumed == 3
    assert set_in(tmp_path / "out") == set_in(tmp_path / "reference")


# Each replaces a field of a shard's record.
WRONG_FIELDS: list[dict[str, Any]] = [
    {"tally": None},
    {"rows": 39},
    {"rows": "40"},
    {"index": 1},
    {"index": None},
    {"files": {}},
    {"files": None},
    {"batch_splits": None},
    {"preprocessing": {"7": {"as_is": 40}}},
    {"tally": {"confusion": [1], "predictions": [40] + [0] * 9, "rejects": {}}},
    {"tally": {"confusion": [[0] * 10] * 10, "predictions": [41] + [0] * 9, "rejects": {}}},
]


@pytest.mark.parametrize(
    "wrong", [WRONG_FIELDS[0], *(pytest.param(wrong, marks=SLOW) for wrong in WRONG_FIELDS[1:])], ids=str
)
def test_damaged_record_is_scored_again(wrong: dict[str, Any], digits: Path, tmp_path: Path) -> None:
    start(digits, tmp_path / "reference")
    start_and_stop(4, digits, tmp_path / "out")
    path = tmp_path / "out" / "_work" / "shards" / "00002.json.gz"
    record = json.loads(gzip.decompress(path.read_bytes()))
    assert wrong.keys() <= record.keys()
    path.write_bytes(gzip.compress(json.dumps(record | wrong).encode()))
    assert start(digits, tmp_path / "out").resumed == 3
    assert set_in(tmp_path / "out") == set_in(tmp_path / "reference")


def test_parts_of_no_shard_are_not_published(digits: Path, tmp_path: Path) -> None:
    start_and_stop(2, digits, tmp_path / "out")
    (tmp_path / "out" / "_work" / "predictions" / ".part-00009.parquet.tmp").write_bytes(b"half")
    (tmp_path / "out" / "_work" / "predictions" / "part-00009.parquet").write_bytes(b"half")
    start(digits, tmp_path / "out")
    assert len(list((tmp_path / "out" / "predictions").iterdir())) == 8


def touch(digits: Path) -> None:
    os.utime(digits / "1" / "1_003.png", ns=(0, 0))


def grow(digits: Path) -> None:
    with (digits / "1" / "1_003.png").open("ab") as file:
        file.write(b"more")


def add(digits: Path) -> None:
    shutil.copy(digits / "1" / "1_003.png", digits / "1" / "1_999.png")


def remove(digits: Path) -> None:
    (digits / "1" / "1_003.png").unlink()


CHANGES = [
    (touch, "1/1_003.png was written again"),
    (grow, "1/1_003.png had "),
    (add, "1/1_999.png is new"),
    (remove, "1/1_003.png is gone"),
]


@pytest.mark.parametrize(("change", "why"), CHANGES, ids=[change.__name__ for change, _ in CHANGES])
@pytest.mark.parametrize("complete", [False, pytest.param(True, marks=SLOW)], ids=["interrupted", "complete"])
def test_changed_input_is_refused_and_named(
    complete: bool, change: Callable[[Path], None], why: str, digits: Path, tmp_path: Path
) -> None:
    if complete:
        start(digits, tmp_path / "out")
    else:
        start_and_stop(2, digits, tmp_path / "out")
    change(digits)
    with pytest.raises(OutputError, match=why):
        start(digits, tmp_path / "out")
    assert start(digits, tmp_path / "out", overwrite=True).resumed == 0


OPTIONS: list[tuple[dict[str, Any], str]] = [
    ({"format": OutputFormat.CSV}, "options.format: parquet, now csv"),
    ({"probabilities": True}, "options.probabilities: False, now True"),
    ({"batch_size": 64}, "options.batch_size: 4096, now 64"),
    ({"rows_per_part": 50}, "options.rows_per_part: 40, now 50"),
    ({"reading": ReadOptions(labels=AutoLabels.NONE)}, "labels: auto, now none"),
]


@pytest.mark.parametrize(("options", "why"), OPTIONS, ids=[why for _, why in OPTIONS])
def test_changed_option_is_refused_and_named(
    options: Mapping[str, Any], why: str, digits: Path, tmp_path: Path
) -> None:
    start_and_stop(2, digits, tmp_path / "out")
    before = parts_of(tmp_path / "out" / "_work")
    with pytest.raises(OutputError, match=why):
        start(digits, tmp_path / "out", **options)
    assert parts_of(tmp_path / "out" / "_work") == before


def test_swapped_model_is_refused_by_digest(digits: Path, tmp_path: Path) -> None:
    shutil.copytree(BUNDLED / "seed", tmp_path / "model")
    start_and_stop(2, digits, tmp_path / "out", model=str(tmp_path / "model"))
    (tmp_path / "model" / "note").write_text("another")
    with pytest.raises(OutputError, match=r"model_sha256: [0-9a-f]{12}, now [0-9a-f]{12}"):
        start(digits, tmp_path / "out", model=str(tmp_path / "model"))


def test_overwrite_does_not_repeat_a_run(digits: Path, tmp_path: Path) -> None:
    start(digits, tmp_path / "out")
    assert start(digits, tmp_path / "out", overwrite=True).already_done


def test_gates_are_judged_without_tensorflow(digits: Path, tmp_path: Path) -> None:
    result = start(digits, tmp_path / "out")
    assert set_in(result.output) is not None
    code = (
        "import sys; from mnist_batch.cli.app import run\ntry: run()\nfinally: assert 'tensorflow' not in sys.modules"
    )
    command = [sys.executable, "-c", code, "predict", str(digits), "-o", str(result.output), "--rows-per-part", "40"]
    cases: list[tuple[list[str], int]] = [(["--min-accuracy", "0.999"], 3), (["--max-reject-rate", "0"], 3), ([], 0)]
    for options, exit_code in cases:
        run = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
        assert run.returncode == exit_code, run.stderr
        assert (set_in(result.output) is None) == (exit_code == 3)
        gates = json.loads((result.output / "manifest.json").read_text())["gates"]
        assert all(gate["passed"] for gate in gates) == (exit_code == 0)


def test_unknown_accuracy_fails_its_gate(digits: Path, tmp_path: Path) -> None:
    result = predict(digits, output=tmp_path / "out", labels="none", min_accuracy=0.5)
    assert result.exit_code == 3
    assert str(result.failed_gates[0]) == "min_accuracy must be at least 0.5, is not known, no row has a label"
    assert set_in(result.output) is None
    assert len(parts_of(result.output)) == 2


def test_changed_label_file_is_refused(digits: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("id,label\n0/0_000.png,0\n")
    reading = ReadOptions(labels=labels)
    start_and_stop(2, digits, tmp_path / "out", reading=reading)
    labels.write_text("id,label\n0/0_000.png,1\n")
    os.utime(labels, ns=(0, 0))
    with pytest.raises(OutputError, match=r"differs \(labels\.csv was written again\)"):
        start(digits, tmp_path / "out", reading=reading)


def test_changed_sidecar_labels_are_refused(sample_data: Path, tmp_path: Path) -> None:
    for name in ("digits-images-idx3-ubyte", "digits-labels-idx1-ubyte"):
        shutil.copy(sample_data / name, tmp_path)
    images, labels = tmp_path / "digits-images-idx3-ubyte", tmp_path / "digits-labels-idx1-ubyte"
    start(images, tmp_path / "out")
    with pytest.raises(OutputError, match=r"differs \(labels: auto, now none\)"):
        start(images, tmp_path / "out", reading=ReadOptions(labels=AutoLabels.NONE))
    os.utime(labels, ns=(0, 0))
    with pytest.raises(OutputError, match=r"differs \(digits-labels-idx1-ubyte was written again\)"):
        start(images, tmp_path / "out")


def test_unlisted_changed_file_is_named(digits: Path, tmp_path: Path) -> None:
    for row in range(1001):  # the manifest lists 1,000 files at most
        (digits / f"empty_{row}.png").touch()
    result = start(digits, tmp_path / "out", max_reject_rate=1)
    assert json.loads((result.output / "manifest.json").read_text())["files"] is None
    (digits / "empty_500.png").write_bytes(b"more")
    (digits / os.fsdecode(b"\xff.png")).touch()
    with pytest.raises(OutputError, match=r"differs \(\\xff\.png is new; empty_500\.png had 0 bytes, now 4\)"):
        start(digits, tmp_path / "out")
    for path in digits.glob("*.png"):
        path.unlink()
    assert start(digits, tmp_path / "out", overwrite=True).rows == 300
    assert not (tmp_path / "out" / "files.arrow").exists()


def test_picked_arrays_are_part_of_the_run(tmp_path: Path) -> None:
    images = np.full((3, 28, 28), 9, np.uint8)
    for name in "ab":
        np.savez(tmp_path / f"{name}.npz", x_test=images, x_train=images)

    def config_of(*names: str) -> PredictConfig:
        return PredictConfig(tuple(str(tmp_path / name) for name in names), tmp_path / "out", max_reject_rate=1)

    run_job(config_of("a.npz:x_test", "b.npz"))
    with pytest.raises(OutputError, match=r"arrays\.a\.npz: \['x_test'\], now None; arrays\.b\.npz: None, now"):
        run_job(config_of("a.npz", "b.npz:x_test"))


def test_changed_card_is_another_run(digits: Path, tmp_path: Path) -> None:
    shutil.copytree(BUNDLED / "seed", tmp_path / "seed")
    card = json.loads((BUNDLED / "seed.card.json").read_text())
    path = tmp_path / "seed.card.json"
    path.write_text(json.dumps(card))
    start(digits, tmp_path / "out", model=str(tmp_path / "seed"))
    path.write_text(json.dumps(card | {"accuracy": 0.5}))
    assert start(digits, tmp_path / "out", model=str(tmp_path / "seed")).already_done
    path.write_text(json.dumps(card | {"temperature": 5.0}))
    with pytest.raises(OutputError, match=r"differs \(card\.temperature: 1\.0, now 5\.0\)"):
        start(digits, tmp_path / "out", model=str(tmp_path / "seed"))
    path.unlink()
    with pytest.raises(OutputError, match=r"differs \(card: .*, now None\)"):
        start(digits, tmp_path / "out", model=str(tmp_path / "seed"))


def test_interrupted_overwrite_is_resumed(digits: Path, tmp_path: Path) -> None:
    start(digits, tmp_path / "out")
    start_and_stop(1, digits, tmp_path / "out", rows_per_part=50, overwrite=True)
    # The older set stays until the run is resumed.
    assert start(digits, tmp_path / "out").already_done
    with pytest.raises(OutputError, match="holds a finished run that differs"):
        start(digits, tmp_path / "out", rows_per_part=60)
    result = start(digits, tmp_path / "out", rows_per_part=50)
    assert result.resumed == 1
    assert len(list(result.predictions.iterdir())) == 6
    assert not (tmp_path / "out" / "_work").exists()


@pytest.mark.parametrize("damage", [cut, Path.unlink])
def test_set_with_a_damaged_part_is_refused(damage: Callable[[Path], None], digits: Path, tmp_path: Path) -> None:
    whole = set_in(start(digits, tmp_path / "out").output)
    damage(tmp_path / "out" / "predictions" / "part-00001.parquet")
    with pytest.raises(OutputError, match="parts of it are missing or changed"):
        start(digits, tmp_path / "out")
    assert not start(digits, tmp_path / "out", overwrite=True).already_done
    assert set_in(tmp_path / "out") == whole


def test_model_replaced_at_start_is_refused(digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tmp_path / "model"
    shutil.copytree(BUNDLED / "seed", model)

    def plan_and_replace_model(config: PredictConfig) -> Plan:
        plan = make_plan(config)
        (model / "note").write_text("another")
        return plan

    monkeypatch.setattr("mnist_batch.run.job.make_plan", plan_and_replace_model)
    with pytest.raises(ModelError, match="must not change while a run starts"):
        start(digits, tmp_path / "out", model=str(model))
    assert set_in(tmp_path / "out") is None


@pytest.mark.parametrize("change", [{"digits": {"edges": [0]}}, {"ink": 7}, {"rows": None}, {"stroke": {}}])
def test_damaged_card_profile_is_refused(change: dict[str, Any], digits: Path, tmp_path: Path) -> None:
    shutil.copytree(BUNDLED / "seed", tmp_path / "model")
    card = json.loads((BUNDLED / "seed.card.json").read_text())
    card["profile"] |= change
    (tmp_path / "model.card.json").write_text(json.dumps(card))
    with pytest.raises(ModelError, match=r"model\.card\.json: a model card must be"):
        start(digits, tmp_path / "out", model=str(tmp_path / "model"))
