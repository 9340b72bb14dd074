r"""File names that are not UTF-8 are written as `\xNN`. Names that a terminal cannot show do not fail a run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Cli
from contracts import DIGITS, write_parquet

from mnist_batch import predict
from mnist_batch.errors import InputError

BAD, SHOWN = os.fsdecode(b"\xff"), r"\xff"


def test_error_shows_a_name_that_is_not_utf8(cli: Cli, tmp_path: Path) -> None:
    run = cli("predict", tmp_path / f"miss{BAD}.png", "--output", tmp_path / "out", "--json")
    assert run.code == 66
    assert f"miss{SHOWN}.png" in run.stderr
    assert run.json["error"] == run.stderr.removeprefix("mnist-batch: ").strip()


@pytest.mark.parametrize("format", ["parquet", "csv"])
def test_paths_need_not_be_utf8(format: str, cli: Cli, tmp_path: Path) -> None:
    source = write_parquet(tmp_path / "in", {"image": DIGITS.pngs, "name": DIGITS.names}).rename(tmp_path / f"in{BAD}")
    ids = [f"in{SHOWN}#{row}" for row in range(len(DIGITS.labels))]
    labels = write_parquet(tmp_path / "labels", {"id": ids, "label": DIGITS.labels}).rename(tmp_path / f"l{BAD}")
    inspection = cli("inspect", source, "--labels", labels, "--json").json
    assert inspection["sources"][0]["name"] == f"in{SHOWN}"
    options = ["--labels", labels, "--format", format, "--json"]
    run = cli("predict", source, "--output", tmp_path / f"out{BAD}", *options)
    assert (run.code, run.json["labelled"]) == (0, len(ids))
    assert run.json["output"] == f"{tmp_path}/out{SHOWN}"
    assert cli("predict", source, "--output", tmp_path / f"out{BAD}", *options).json["status"] == "already_done"
    frame = predict(source, output=tmp_path / f"out{BAD}", labels=labels, format=format).to_pandas()
    assert frame["id"].tolist() == ids
    by_name = cli("predict", source, "-o", tmp_path / f"ids{BAD}", "--id-column", "name", "--format", format)
    assert by_name.code == 0
    assert f"ids{SHOWN}" in by_name.stdout


def test_ascii_terminal_does_not_fail_a_run(tmp_path: Path) -> None:
    (tmp_path / "é.png").write_bytes(DIGITS.pngs[0])
    environment = os.environ | {"PYTHONIOENCODING": "ascii:strict"}
    command = [sys.executable, "-m", "mnist_batch", "inspect", str(tmp_path / "é.png")]
    for options, shown in (([], b"1 rows"), (["--json"], b'"rows":1')):
        run = subprocess.run([*command, *options], env=environment, capture_output=True, check=True)
        assert shown in run.stdout
        assert run.stderr == b""


def test_error_with_line_breaks_is_one_line() -> None:
    assert str(InputError("a\nb.npz: must hold images\r\n")) == "a b.npz: must hold images"
