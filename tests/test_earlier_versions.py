"""What this version does with what version 0.1.0 has written (`fixtures/README.md`)."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from pathlib import Path

import pytest
from conftest import Cli

from mnist_batch.errors import ModelError
from mnist_batch.model.card import CARD_VERSION, read_card
from mnist_batch.output.store import OutputStore
from mnist_batch.run.reports import read_report

FIXTURES = Path(__file__).parent / "fixtures" / "version_0_1_0.zip"
OPTIONS = ("--rows-per-part", "5", "--max-reject-rate", "0.2")


@pytest.fixture
def earlier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The unpacked fixtures, and the working directory. A test may change them."""
    with zipfile.ZipFile(FIXTURES) as archive:
        archive.extractall(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def list_files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_complete_set_is_refused_by_its_version(cli: Cli, earlier: Path) -> None:
    before = list_files(earlier / "complete")
    run = cli("predict", "digits", "--output", "complete", *OPTIONS)
    assert run.code == 73
    assert "must hold this run or none, but holds a finished run of mnist-batch 0.1.0 that differs" in run.stderr
    assert "choose another --output, or pass --overwrite" in run.stderr
    assert len(run.stderr.splitlines()) == 1
    assert list_files(earlier / "complete") | {".lock": b""} == before | {".lock": b""}


def test_complete_set_is_replaced_on_demand(cli: Cli, earlier: Path) -> None:
    run = cli("predict", "digits", "--output", "complete", *OPTIONS, "--overwrite", "--json")
    assert (run.code, run.json["rows"], run.json["rejected"]) == (0, 13, 1)
    assert json.loads((earlier / "complete" / "manifest.json").read_text())["manifest_version"] == 2
    assert cli("predict", "digits", "--output", "complete", *OPTIONS, "--json").json["status"] == "already_done"


def test_interrupted_run_is_refused_by_its_version(cli: Cli, earlier: Path) -> None:
    before = list_files(earlier / "interrupted")
    run = cli("predict", "digits", "--output", "interrupted", *OPTIONS)
    assert run.code == 73
    assert "holds an interrupted run of mnist-batch 0.1.0 that differs" in run.stderr
    assert list_files(earlier / "interrupted") | {".lock": b""} == before | {".lock": b""}
    again = cli("predict", "digits", "--output", "interrupted", *OPTIONS, "--overwrite", "--json")
    assert (again.code, again.json["rows"]) == (0, 13)


def test_commit_is_rolled_forward(cli: Cli, earlier: Path) -> None:
    """The set of 0.1.0 is completed, byte by byte. It is then a set of another version."""
    complete = list_files(earlier / "complete")
    run = cli("predict", "digits", "--output", "committing", *OPTIONS)
    assert run.code == 73
    assert "holds a finished run of mnist-batch 0.1.0 that differs" in run.stderr
    committed = list_files(earlier / "committing")
    assert committed.keys() - {".lock"} == complete.keys()
    parts = [name for name in complete if name.startswith(("predictions", "rejects"))]
    assert {name: committed[name] for name in parts} == {name: complete[name] for name in parts}


def test_report_is_rendered_and_compared(cli: Cli, earlier: Path, sample_data: Path) -> None:
    assert read_report(earlier / "complete").run.version == "0.1.0"
    page = cli("report", "complete", "--format", "md")
    assert "| rows | 13 |" in page.stdout
    assert cli("report", "complete").code == 0
    run = cli("predict", sample_data / "digits", "--output", "out", "--baseline", "complete", "--json")
    assert run.code == 0
    baseline = read_report(Path("out")).baseline
    assert baseline is not None
    assert (baseline.rows, baseline.labelled, baseline.same_model) == (13, 12, True)


def test_card_is_read(earlier: Path) -> None:
    card = read_card(earlier / "model_mnist.card.json")
    assert (card.card_version, card.name, card.evaluated_rows) == (1, "model_mnist", 300)
    assert card.training is not None
    assert (card.training.epochs, card.training.validation_rows) == (1, 30)


def test_unknown_keys_of_a_card(earlier: Path) -> None:
    """A misspelt key is an error. A key of a later version is not."""
    path = earlier / "model_mnist.card.json"
    card = json.loads(path.read_text())
    card["training"]["new"] = 1
    path.write_text(json.dumps(card))
    with pytest.raises(ModelError, match=r"found an unknown key `training\.new`: remove it"):
        read_card(path)
    path.write_text(json.dumps(card | {"card_version": CARD_VERSION + 1}))
    assert read_card(path).name == "model_mnist"


@pytest.mark.parametrize(
    ("name", "changes", "found"),
    [
        ("complete/manifest.json", {"rows": "many"}, "in `rows`: expected `int`, got `str`"),
        ("complete/manifest.json", {"manifest_version": 2}, "an unknown key `facts`"),
        ("interrupted/_work/run.json", {"fingerprint": 7}, "in `fingerprint`: expected `str`, got `int`"),
        ("committing/_work/commit.json", {"passed": "yes"}, "in `passed`: expected `bool`, got `str`"),
        ("committing/_work/commit.json", {"new": 1}, "an unknown key `new`"),
        ("committing/_work/commit.json", {"journal_version": 9}, "journal_version 9, and this version of mnist-batch"),
    ],
)
def test_damaged_document_is_named(
    name: str, changes: dict[str, int | str], found: str, cli: Cli, earlier: Path
) -> None:
    path = earlier / name
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    output = name.partition("/")[0]
    before = list_files(earlier / output)
    run = cli("predict", "digits", "--output", output, *OPTIONS)
    assert run.code == 73
    assert f"{name}: must be as a run wrote it, found {found}" in run.stderr
    assert len(run.stderr.splitlines()) == 1
    assert list_files(earlier / output) | {".lock": b""} == before | {".lock": b""}


def test_damaged_manifest_is_replaced_on_demand(cli: Cli, earlier: Path) -> None:
    path = earlier / "complete" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"rows": "many"}))
    assert cli("predict", "digits", "--output", "complete", *OPTIONS, "--overwrite").code == 0


@pytest.mark.parametrize(
    ("name", "content", "damage"),
    [
        ("report.json", "{}", "report.json: no `report_version`"),
        ("report.json", None, "report.json: no file"),
        ("predictions/part-00001.parquet", None, "predictions/part-00001.parquet: No such file or directory"),
        ("predictions/part-00001.parquet", "x", "predictions/part-00001.parquet had 2,"),
    ],
)
def test_damaged_set_is_named_and_replaced_on_demand(
    name: str, content: str | None, damage: str, cli: Cli, earlier: Path
) -> None:
    assert cli("predict", "digits", "--output", "out", *OPTIONS).code == 0
    parts = list_files(earlier / "out" / "predictions")
    if content is None:
        (earlier / "out" / name).unlink()
    else:
        (earlier / "out" / name).write_text(content)
    run = cli("predict", "digits", "--output", "out", *OPTIONS)
    assert run.code == 73
    assert f"holds this run, but parts of it are missing or changed ({damage}" in run.stderr
    assert cli("predict", "digits", "--output", "out", *OPTIONS, "--overwrite").code == 0
    assert list_files(earlier / "out" / "predictions") == parts


def test_many_parts_are_listed_beside_the_manifest(cli: Cli, earlier: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mnist_batch.output.store._MAX_INLINE_PARTS", 3)
    arguments = ("predict", "digits", "--output", "out", *OPTIONS)
    assert cli(*arguments).code == 0
    output = earlier / "out"
    manifest = OutputStore(output).manifest()
    assert manifest is not None
    assert manifest.parts is None
    assert cli(*arguments, "--json").json["status"] == "already_done"
    (output / "predictions" / "part-00000.parquet").write_text("x")
    assert "part-00000.parquet had" in cli(*arguments).stderr
    (output / "parts.arrow").unlink()
    assert "(parts.arrow is missing or damaged)" in cli(*arguments).stderr
    # A later set with few parts has none.
    shutil.rmtree(output)
    assert cli(*arguments).code == 0
    assert (output / "parts.arrow").exists()
    monkeypatch.undo()
    os.chdir(earlier)
    assert cli(*arguments, "--batch-size", "64", "--overwrite").code == 0
    assert not (output / "parts.arrow").exists()
