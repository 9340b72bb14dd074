"""A run that was interrupted goes on where it stopped, with the same bytes, or is refused where it would be another."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from mnist_batch import predict
from mnist_batch.config import PredictConfig, ReadOptions
from mnist_batch.errors import ModelError, OutputError
from mnist_batch.run.job import run_job
from reliability.readers import parts_of, set_in


class PulledPlugError(Exception):
    """Stands for whatever ends a run from outside."""


def interrupted(rows):
    """A watch that ends the run once so many rows are done."""

    def watch(done, _):
        if done >= rows:
            raise PulledPlugError

    return watch


@pytest.fixture
def digits(sample_data, tmp_path):
    """The sample digits as a folder that a test may change, one of them damaged."""
    folder = tmp_path / "digits"
    shutil.copytree(sample_data / "digits", folder)
    (folder / "0" / "0_020.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return folder


def config(digits, output, **options):
    return PredictConfig((str(digits),), output, **{"rows_per_part": 40, **options})


def start(*arguments, **options):
    return run_job(config(*arguments, **options))


def stopped_at(rows, *arguments, **options):
    with pytest.raises(PulledPlugError):
        run_job(config(*arguments, **options), interrupted(rows))


@pytest.mark.parametrize("format", ["parquet", "csv"])
@pytest.mark.parametrize("rows", [1, 41, 170, 300])
def test_a_resumed_run_ends_with_the_bytes_of_one_that_was_not_interrupted(rows, format, digits, tmp_path):
    reference = start(digits, tmp_path / "reference", format=format)
    stopped_at(rows, digits, tmp_path / "out", format=format)
    assert set_in(tmp_path / "out") is None
    result = start(digits, tmp_path / "out", format=format)
    assert result.resumed == (rows - 1) // 40
    assert result.scored == 300 - 40 * result.resumed  # rows, and only those of this start
    assert set_in(result.output) == parts_of(reference.output)
    assert len(parts_of(result.output)) == 9


def damage(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("harm", [damage, os.unlink, lambda path: path.write_bytes(path.read_bytes()[:-1])])
def test_a_finished_part_is_verified_and_scored_again_if_it_is_not_what_was_written(harm, digits, tmp_path):
    start(digits, tmp_path / "reference")
    stopped_at(200, digits, tmp_path / "out")
    harm(tmp_path / "out" / "_work" / "predictions" / "part-00002.parquet")
    result = start(digits, tmp_path / "out")
    assert result.resumed == 3  # of four
    assert set_in(tmp_path / "out") == set_in(tmp_path / "reference")


WRONG_RECORDS = [
    {"tally": None},
    {"rows": 39},
    {"rows": "40"},
    {"index": 1},
    {"index": None},
    {"files": {}},
    {"files": None},
    {"halvings": None},
    {"treatments": {"7": {"as_is": 40}}},
    {"tally": {"confusion": [1], "predictions": [40] + [0] * 9, "rejects": {}}},
    {"tally": {"confusion": [[0] * 10] * 10, "predictions": [41] + [0] * 9, "rejects": {}}},
]


@pytest.mark.parametrize("wrong", WRONG_RECORDS, ids=str)
def test_a_shard_whose_record_is_damaged_is_scored_again(wrong, digits, tmp_path):
    start(digits, tmp_path / "reference")
    stopped_at(200, digits, tmp_path / "out")
    path = tmp_path / "out" / "_work" / "shards" / "00002.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | wrong))
    assert start(digits, tmp_path / "out").resumed == 3  # of four
    assert set_in(tmp_path / "out") == set_in(tmp_path / "reference")


def test_what_no_shard_wrote_is_not_published(digits, tmp_path):
    stopped_at(100, digits, tmp_path / "out")
    (tmp_path / "out" / "_work" / "predictions" / ".part-00009.parquet.tmp").write_bytes(b"half")
    (tmp_path / "out" / "_work" / "predictions" / "part-00009.parquet").write_bytes(b"half")
    start(digits, tmp_path / "out")
    assert len(list((tmp_path / "out" / "predictions").iterdir())) == 8


def touch(digits):
    os.utime(digits / "1" / "1_003.png", ns=(0, 0))


def grow(digits):
    with (digits / "1" / "1_003.png").open("ab") as file:
        file.write(b"more")


def add(digits):
    shutil.copy(digits / "1" / "1_003.png", digits / "1" / "1_999.png")


def remove(digits):
    (digits / "1" / "1_003.png").unlink()


CHANGES = [
    (touch, "1/1_003.png was written again"),
    (grow, "1/1_003.png had "),
    (add, "1/1_999.png is new"),
    (remove, "1/1_003.png is gone"),
]


@pytest.mark.parametrize(("change", "why"), CHANGES, ids=[change.__name__ for change, _ in CHANGES])
@pytest.mark.parametrize("complete", [False, True], ids=["interrupted", "complete"])
def test_a_changed_input_is_refused_and_named(complete, change, why, digits, tmp_path):
    if complete:
        start(digits, tmp_path / "out")
    else:
        stopped_at(100, digits, tmp_path / "out")
    change(digits)
    with pytest.raises(OutputError, match=why):
        start(digits, tmp_path / "out")
    assert start(digits, tmp_path / "out", overwrite=True).resumed == 0


OPTIONS = [
    ({"format": "csv"}, "options.format: parquet, now csv"),
    ({"probabilities": True}, "options.probabilities: False, now True"),
    ({"batch_size": 64}, "options.batch_size: 4096, now 64"),
    ({"rows_per_part": 50}, "options.rows_per_part: 40, now 50"),
    ({"reading": ReadOptions(labels="none")}, "labels: auto, now none"),
]


@pytest.mark.parametrize(("options", "why"), OPTIONS, ids=[why for _, why in OPTIONS])
def test_a_changed_option_is_refused_and_named(options, why, digits, tmp_path):
    stopped_at(100, digits, tmp_path / "out")
    before = parts_of(tmp_path / "out" / "_work")
    with pytest.raises(OutputError, match=why):
        start(digits, tmp_path / "out", **options)
    assert parts_of(tmp_path / "out" / "_work") == before


def test_a_swapped_model_is_refused_with_both_digests(digits, tmp_path):
    from mnist_batch.model.bundled import BUNDLED

    shutil.copytree(BUNDLED / "seed", tmp_path / "model")
    stopped_at(100, digits, tmp_path / "out", model=str(tmp_path / "model"))
    (tmp_path / "model" / "note").write_text("another")
    with pytest.raises(OutputError, match=r"model_sha256: [0-9a-f]{12}, now [0-9a-f]{12}"):
        start(digits, tmp_path / "out", model=str(tmp_path / "model"))


def test_the_same_run_is_not_done_twice_even_with_overwrite(digits, tmp_path):
    start(digits, tmp_path / "out")
    assert start(digits, tmp_path / "out", overwrite=True).already_done


def test_gates_are_judged_again_on_the_set_that_is_there_without_tensorflow(digits, tmp_path):
    result = start(digits, tmp_path / "out")
    assert set_in(result.output) is not None
    code = (
        "import sys; from mnist_batch.cli.app import run\ntry: run()\nfinally: assert 'tensorflow' not in sys.modules"
    )
    command = [sys.executable, "-c", code, "predict", str(digits), "-o", str(result.output), "--rows-per-part", "40"]
    for options, exit_code in ((["--min-accuracy", "0.999"], 3), (["--max-reject-rate", "0"], 3), ([], 0)):
        run = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
        assert run.returncode == exit_code, run.stderr
        assert (set_in(result.output) is None) == (exit_code == 3)
        gates = json.loads((result.output / "manifest.json").read_text())["gates"]
        assert all(gate["passed"] for gate in gates) == (exit_code == 0)


def test_accuracy_that_nobody_knows_fails_its_gate(digits, tmp_path):
    result = predict(digits, output=tmp_path / "out", labels="none", min_accuracy=0.5)
    assert result.exit_code == 3
    assert str(result.failed_gates[0]) == "min_accuracy must be at least 0.5, is not known, no row has a label"
    assert set_in(result.output) is None
    assert len(parts_of(result.output)) == 2


def test_a_changed_label_file_is_refused_and_named(digits, tmp_path):
    labels = tmp_path / "labels.csv"
    labels.write_text("id,label\n0/0_000.png,0\n")
    reading = ReadOptions(labels=labels)
    stopped_at(100, digits, tmp_path / "out", reading=reading)
    labels.write_text("id,label\n0/0_000.png,1\n")
    os.utime(labels, ns=(0, 0))
    with pytest.raises(OutputError, match=r"differs \(labels\.csv was written again\)"):
        start(digits, tmp_path / "out", reading=reading)


def test_labels_beside_the_images_that_changed_are_named_and_switching_them_off_is_one_difference(
    sample_data, tmp_path
):
    for name in ("digits-images-idx3-ubyte", "digits-labels-idx1-ubyte"):
        shutil.copy(sample_data / name, tmp_path)
    images, labels = tmp_path / "digits-images-idx3-ubyte", tmp_path / "digits-labels-idx1-ubyte"
    start(images, tmp_path / "out")
    with pytest.raises(OutputError, match=r"differs \(labels: auto, now none\)"):
        start(images, tmp_path / "out", reading=ReadOptions(labels="none"))
    os.utime(labels, ns=(0, 0))
    with pytest.raises(OutputError, match=r"differs \(digits-labels-idx1-ubyte was written again\)"):
        start(images, tmp_path / "out")


def test_a_changed_file_among_more_than_a_manifest_lists_is_named(digits, tmp_path):
    for row in range(1001):
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


def test_which_arrays_are_picked_of_which_file_is_part_of_the_run(tmp_path):
    for name in "ab":
        arrays = {array: np.full((3, 28, 28), 9, np.uint8) for array in ("x_test", "x_train")}
        np.savez(tmp_path / f"{name}.npz", **arrays)

    def inputs(*names):
        return PredictConfig(tuple(str(tmp_path / name) for name in names), tmp_path / "out", max_reject_rate=1)

    run_job(inputs("a.npz:x_test", "b.npz"))
    with pytest.raises(OutputError, match=r"arrays\.a\.npz: \['x_test'\], now None; arrays\.b\.npz: None, now"):
        run_job(inputs("a.npz", "b.npz:x_test"))


def test_a_card_that_says_otherwise_is_another_run(digits, tmp_path):
    from mnist_batch.model.bundled import BUNDLED

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


def test_an_interrupted_overwriting_run_goes_on_unasked_and_the_older_set_stays_until_then(digits, tmp_path):
    start(digits, tmp_path / "out")
    stopped_at(100, digits, tmp_path / "out", rows_per_part=50, overwrite=True)
    assert start(digits, tmp_path / "out").already_done
    with pytest.raises(OutputError, match="holds a complete set that differs"):
        start(digits, tmp_path / "out", rows_per_part=60)
    result = start(digits, tmp_path / "out", rows_per_part=50)
    assert result.resumed == 1
    assert len(list(result.predictions.iterdir())) == 6
    assert not (tmp_path / "out" / "_work").exists()


def test_a_set_that_lost_a_part_is_refused_and_mended_by_overwriting(digits, tmp_path):
    whole = set_in(start(digits, tmp_path / "out").output)
    (tmp_path / "out" / "predictions" / "part-00001.parquet").unlink()
    with pytest.raises(OutputError, match="parts of it are missing or changed"):
        start(digits, tmp_path / "out")
    assert not start(digits, tmp_path / "out", overwrite=True).already_done
    assert set_in(tmp_path / "out") == whole


def test_a_model_that_is_replaced_while_a_run_starts_is_refused(digits, tmp_path, monkeypatch):
    from mnist_batch.model.bundled import BUNDLED
    from mnist_batch.run import job

    model = tmp_path / "model"
    shutil.copytree(BUNDLED / "seed", model)

    def planned(config):
        plan = job_planned(config)
        (model / "note").write_text("another")
        return plan

    job_planned = job.planned
    monkeypatch.setattr(job, "make_plan", planned)
    with pytest.raises(ModelError, match="must not change while a run starts"):
        start(digits, tmp_path / "out", model=str(model))
    assert set_in(tmp_path / "out") is None


@pytest.mark.parametrize("change", [{"digits": {"edges": [0]}}, {"ink": 7}, {"rows": None}, {"stroke": {}}])
def test_a_damaged_profile_in_a_card_is_refused_before_anything_is_scored(change, digits, tmp_path):
    from mnist_batch.model.bundled import BUNDLED

    shutil.copytree(BUNDLED / "seed", tmp_path / "model")
    card = json.loads((BUNDLED / "seed.card.json").read_text())
    card["profile"] |= change
    (tmp_path / "model.card.json").write_text(json.dumps(card))
    with pytest.raises(ModelError, match=r"model\.card\.json: a model card must be"):
        start(digits, tmp_path / "out", model=str(tmp_path / "model"))
