r"""Names that are not UTF-8, or that a terminal cannot show: `\xNN` wherever they are written, and never a failure."""

import os
import subprocess
import sys

import pytest
from contracts import DIGITS, write_parquet

from mnist_batch import predict
from mnist_batch.errors import InputError

BAD, SHOWN = os.fsdecode(b"\xff"), r"\xff"


def test_an_error_about_such_a_name_is_one_line_and_json(cli, tmp_path):
    run = cli("predict", tmp_path / f"miss{BAD}.png", "--output", tmp_path / "out", "--json")
    assert run.code == 66
    assert f"miss{SHOWN}.png" in run.stderr
    assert run.json["error"] == run.stderr.removeprefix("mnist-batch: ").strip()


@pytest.mark.parametrize("format", ["parquet", "csv"])
def test_input_labels_and_output_may_have_such_names(format, cli, tmp_path):
    source = write_parquet(tmp_path / "in", {"image": DIGITS.pngs, "name": DIGITS.names}).rename(tmp_path / f"in{BAD}")
    ids = [f"in{SHOWN}#{row}" for row in range(len(DIGITS.labels))]
    labels = write_parquet(tmp_path / "labels", {"id": ids, "label": DIGITS.labels}).rename(tmp_path / f"l{BAD}")
    found = cli("inspect", source, "--labels", labels, "--json").json
    assert found["sources"][0]["name"] == f"in{SHOWN}"
    options = ["--labels", labels, "--format", format, "--json"]
    run = cli("predict", source, "--output", tmp_path / f"out{BAD}", *options)
    assert (run.code, run.json["labelled"]) == (0, len(ids))
    assert run.json["output"] == f"{tmp_path}/out{SHOWN}"
    assert cli("predict", source, "--output", tmp_path / f"out{BAD}", *options).json["status"] == "already_done"
    frame = predict(source, output=tmp_path / f"out{BAD}", labels=labels, format=format).to_pandas()
    assert frame["id"].tolist() == ids
    by_name = cli("predict", source, "-o", tmp_path / f"ids{BAD}", "--id-column", "name", "--format", format)
    assert by_name.code == 0
    assert f"out{SHOWN}".replace("out", "ids") in by_name.stdout


def test_a_terminal_that_cannot_show_a_name_ends_no_run(tmp_path):
    (tmp_path / "é.png").write_bytes(DIGITS.pngs[0])
    environment = os.environ | {"PYTHONIOENCODING": "ascii:strict"}
    command = [sys.executable, "-m", "mnist_batch", "inspect", str(tmp_path / "é.png")]
    for options, shown in (([], b"1 rows"), (["--json"], b'"rows":1')):
        run = subprocess.run([*command, *options], env=environment, capture_output=True, check=True)
        assert shown in run.stdout
        assert run.stderr == b""


def test_an_error_is_one_line_whatever_a_name_in_it_holds():
    assert str(InputError("a\nb.npz: must hold images\r\n")) == "a b.npz: must hold images"
