"""What the commands print, and their exit codes."""

import io
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import Cli
from contracts import DIGITS, PIXELS, write_files

from mnist_batch.cli import console
from mnist_batch.cli.log import Log
from mnist_batch.records import Preprocessing
from mnist_batch.run import job
from mnist_batch.run.inspection import InspectionSummary, SampleSummary


def test_run_prints_a_summary(cli: Cli, sample_data: Path, tmp_path: Path) -> None:
    run = cli("predict", sample_data / "digits", "--output", tmp_path / "out")
    assert run.code == 0
    assert "300 rows scored by model seed" in run.stdout
    assert "98.33%  of 300 labelled; 95 % interval 96.16% to 99.29%" in run.stdout
    assert f"predictions  {tmp_path / 'out' / 'predictions'}" in run.stdout
    assert run.stderr == ""


def test_json_object_has_documented_keys(cli: Cli, sample_data: Path, tmp_path: Path) -> None:
    run = cli("predict", sample_data / "digits", "--output", tmp_path / "out", "--json")
    assert len(run.stdout.splitlines()) == 1
    assert list(run.json) == [
        "status", "exit_code", "error", "output", "rows", "predicted", "rejected", "labelled", "accuracy", "seconds",
        "images_per_second", "stages", "model", "fingerprint",
    ]  # fmt: skip
    assert (run.json["status"], run.json["rows"], run.json["error"]) == ("done", 300, None)
    assert run.json["images_per_second"] > 0
    assert set(run.json["stages"]) == {"read", "decode", "frame", "model", "count", "write"}
    assert all(share >= 0 for share in run.json["stages"].values())  # rounded: a short stage may be 0
    again = cli("predict", sample_data / "digits", "--output", tmp_path / "out", "--json")
    assert (again.json["status"], again.json["fingerprint"]) == ("already_done", run.json["fingerprint"])
    assert (again.json["images_per_second"], again.json["stages"]) == (0, {})


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["predict", "no_such_file", "--output", "x", "--json"], 66),
        (["predict", "--json"], 2),
        (["predict", "", "--output", "x", "--json"], 2),
        (["inspect", "", "--json"], 2),
        (["inspect", ".", "--rows-per-part", "0", "--json"], 2),
        (["predict", "x", "--output", "y", "--colour", "--json"], 2),
        (["predict", "x", "--output", "y", "--format", "xml", "--json"], 2),
        (["predict", "x", "--output", "y", "--batch-size", "3", "--json"], 2),
        (["predict", "x", "--output", "y", "--keep", "a,id", "--json"], 2),
        (["inspect", "no_such_file", "--json"], 66),
        (["train", "--output", "x", "--recipe", "y", "--json"], 2),
        (["no_such_command", "--json"], 2),
    ],
)
def test_error_is_one_line_and_one_object(
    cli: Cli,
    arguments: list[str],
    code: int,
    sample_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    run = cli(*arguments)
    assert run.code == code
    assert len(run.stderr.splitlines()) == 1
    assert run.stderr.startswith("mnist-batch: ")
    assert run.json["exit_code"] == code
    assert run.stderr == f"mnist-batch: {run.json['error']}\n"
    good = cli("predict", sample_data / "digits", "--output", tmp_path / "out", "--json")
    assert list(run.json) == list(good.json)


def test_no_command_prints_the_help(cli: Cli) -> None:
    run = cli()
    assert (run.code, run.stderr) == (2, "")
    assert "inspect" in run.stdout
    assert cli("--json").json["exit_code"] == 2


@pytest.mark.parametrize(
    ("arguments", "output"),
    [
        (["predict", "no_such_file", "--output", "x"], "x"),
        (["predict", "--output=x", "--colour", "y"], "x"),
        (["predict", "y", "-qox", "--batch-size", "many"], "x"),
        (["predict", "y"], None),
        (["inspect", "no_such_file"], None),
        (["no_such_command", "--output", "x"], None),
        ([], None),
    ],
)
def test_json_error_names_the_output(cli: Cli, arguments: list[str], output: str | None) -> None:
    run = cli(*arguments, "--json")
    assert run.json["exit_code"] != 0
    assert run.json["output"] == output


def test_bug_prints_traceback_and_exits_70(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(job, "run_job", lambda *_: 1 / 0)
    run = cli("predict", "x", "--output", tmp_path / "out", "--json")
    assert run.code == 70
    assert "Traceback" in run.stderr
    assert "ZeroDivisionError" in run.stderr.splitlines()[-1]
    assert run.json["exit_code"] == 70


def test_quiet_prints_nothing_on_success(cli: Cli, sample_data: Path, tmp_path: Path) -> None:
    run = cli("predict", sample_data / "digits.zip", "--output", tmp_path / "out", "--quiet")
    assert (run.code, run.stdout, run.stderr) == (0, "", "")


def test_inspect_lists_sources(cli: Cli, sample_data: Path) -> None:
    run = cli("inspect", sample_data / "digits.zip", sample_data / "digits-images-idx3-ubyte")
    assert run.code == 0
    assert "600 rows in 1 part of up to 65,536" in run.stdout
    inspection = cli("inspect", sample_data / "digits.zip", sample_data / "digits-images-idx3-ubyte", "--json").json
    assert [(s["format"], s["rows"], s["labelled"]) for s in inspection["sources"]] == [
        ("idx", 300, True),
        ("zip", 300, True),
    ]


def test_inspect_samples_the_preprocessing(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    cv2.imwrite(str(folder / "a.png"), PIXELS[0])
    cv2.imwrite(str(folder / "b.png"), 255 - PIXELS[1])
    cv2.imwrite(str(folder / "c.png"), cv2.resize(PIXELS[2], (60, 60)))
    cv2.imwrite(str(folder / "d.png"), np.zeros((50, 50), np.uint8))
    (folder / "e.png").write_bytes(b"")
    sheet = tmp_path / "sheet.png"
    run = cli("inspect", folder, "--sheet", sheet)
    assert run.stdout.splitlines()[-1] == (
        "preprocessing auto, 5 images sampled: 1 as they are, 1 with dark ink inverted, 1 framed, "
        "1 rejected as blank, 1 rejected as empty"
    )
    drawn = cv2.imread(str(sheet))
    assert drawn is not None
    assert drawn.shape == (348, 378, 3)
    assert cli("inspect", folder, "--preprocess", "none", "--json").json["preprocessing"] == {
        "mode": "none",
        "sampled": 5,
        "as_is": 2,
        "inverted": 0,
        "framed": 0,
        "rejected": {"empty": 1, "not_28x28": 2},
    }
    assert cli("inspect", folder, "--sheet", tmp_path / "no" / "sheet.png").code == 73


def test_predict_counts_preprocessed_images(cli: Cli, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), 255 - PIXELS[0])
    run = cli("predict", tmp_path / "a.png", "-o", tmp_path / "out")
    assert "preprocess          1  1 with dark ink inverted" in run.stdout
    assert run.stderr.startswith("mnist-batch: image files: 1 of 1 images were not in MNIST form")
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["preprocessing"] == {"mode": "auto", "as_is": 0, "inverted": 1, "framed": 0}
    assert len(report["warnings"]) == 1
    assert cli("predict", tmp_path / "a.png", "-o", tmp_path / "out").stderr == ""
    assert cli("predict", tmp_path / "a.png", "-o", tmp_path / "out2", "--quiet").stderr == ""
    assert cli("predict", tmp_path / "a.png", "-o", tmp_path / "out", "--preprocess", "frame").code == 73


def test_inspect_says_how_many_rows_a_label_table_has(cli: Cli, tmp_path: Path) -> None:
    write_files(tmp_path / "in", {f"{row}.png": png for row, png in enumerate(DIGITS.pngs[:4])})
    for text, warning in (
        ("id,label\n0.png,1\n1.png,2\n9.png,3\n", "2 of its 3 ids are ids of rows, and 2 of 4 rows have no label"),
        ("id,label\n0.png,1\n1.png,2\n2.png,3\n3.png,3\n", ""),
    ):
        (tmp_path / "labels.csv").write_text(text)
        run = cli("inspect", tmp_path / "in", "--labels", tmp_path / "labels.csv")
        assert run.code == 0
        assert ("warning: " in run.stdout) == bool(warning)
        assert warning in run.stdout


def test_inspect_opens_the_label_file(cli: Cli, sample_data: Path, tmp_path: Path) -> None:
    images, labels = sample_data / "digits-images-idx3-ubyte", sample_data / "digits-labels-idx1-ubyte"
    inspection = cli("inspect", images, "--labels", labels, "--json").json
    assert (inspection["labelled"], inspection["sources"][0]["labelled"]) == (True, True)
    assert not cli("inspect", images, "--labels", "none", "--json").json["labelled"]
    assert cli("inspect", images, "--labels", tmp_path / "nothing.csv").code == 66
    (tmp_path / "few").write_bytes(b"\0\0\x08\x01\0\0\0\1\7")
    run = cli("inspect", images, "--labels", tmp_path / "few")
    assert (run.code, "each of the 300 rows of the input, holds 1" in run.stderr) == (65, True)


def test_models_lists_the_bundled_model(cli: Cli) -> None:
    run = cli("models")
    assert run.code == 0
    assert run.stdout.splitlines()[1].split()[0] == "seed"
    (seed,) = json.loads(cli("models", "--json").stdout)
    assert seed["name"] == "seed"
    assert 0.97 < seed["accuracy"] < 0.99


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param(["jobs/predict.py"], id="job"),
        pytest.param(["-m", "mnist_batch", "predict"], id="module", marks=pytest.mark.slow),
    ],
)
def test_program_runs_from_any_folder(entry: list[str], sample_data: Path, tmp_path: Path) -> None:
    """OpenCV's message about the damaged image does not reach stderr."""
    damaged = tmp_path / "damaged.png"
    png = (sample_data / "digits/0/0_000.png").read_bytes()
    damaged.write_bytes(png[:-20])
    script = [str(sample_data.parent / entry[0])] if entry[0].endswith(".py") else entry
    command = [sys.executable, *script, str(damaged), "--output", str(tmp_path / "out"), "--max-reject-rate", "1"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")
    assert "1 x undecodable" in run.stdout


@pytest.mark.parametrize("closed", ["2>&-", ">&- 2>&-", ">&-"])
def test_closed_streams_keep_the_exit_code(closed: str, sample_data: Path) -> None:
    for arguments, code in (("models", 0), ("inspect no_such_file --json", 66)):
        command = f"{sys.executable} -m mnist_batch {arguments} {closed}"
        run = subprocess.run(["sh", "-c", command], cwd=sample_data.parent, capture_output=True, check=False)
        assert run.returncode == code
        assert b"mnist-batch: " not in run.stdout


def test_inspect_prints_all_preprocessing() -> None:
    counts = {kind.value: count for count, kind in enumerate(Preprocessing, 101)}
    sample = SampleSummary("auto", sampled=0, **counts, rejected={})
    text = console.format_inspection(InspectionSummary("in", 0, False, 0, 1, [], {}, sample, []))
    assert all(f" {count} " in text for count in counts.values())


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_a_bar_on_a_terminal() -> None:
    """Elsewhere, a run shorter than the interval prints nothing."""
    terminal, log = Terminal(), io.StringIO()
    for stream in (terminal, log):
        progress = console.Progress(Log(stream))
        progress(50, 100)
        progress(100, 100)
    assert terminal.getvalue().endswith("\n")
    assert "100 of 100" in terminal.getvalue()
    assert log.getvalue() == ""
