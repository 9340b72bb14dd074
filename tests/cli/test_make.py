"""The commands that `make` would run."""

import subprocess
from pathlib import Path

import pytest


def dry_run(folder: Path, *variables: str) -> list[str]:
    """The input and the output of `make predict`."""
    command = ["make", "--dry-run", "predict", *variables]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    (line,) = (line for line in run.stdout.splitlines() if "jobs/predict.py" in line)
    return line.split('"')[1::2]


@pytest.mark.parametrize("variables", [[], ["INPUT="], ["INPUT=", "OUTPUT="]])
def test_default_input_is_the_sample_digits(variables: list[str], sample_data: Path) -> None:
    assert dry_run(sample_data.parent, *variables) == ["sample_data/digits", "out/digits"]


@pytest.mark.parametrize(
    ("input", "output"),
    [
        ("/data/scans", "out/scans"),
        ("/data/scans/", "out/scans"),
        ("my scans.zip", "out/my scans.zip"),
        ("/data/scans/*.png", "out/scans"),
        ("/data/scans/**/x?.png", "out/scans"),
        ("scans/[ab]*/*", "out/scans"),
        ("*.png", "out/images"),
    ],
)
def test_output_is_named_after_the_input(input: str, output: str, sample_data: Path) -> None:
    assert dry_run(sample_data.parent, f"INPUT={input}") == [input, output]


def test_output_can_be_given(sample_data: Path) -> None:
    assert dry_run(sample_data.parent, "INPUT=a", "OUTPUT=/b/c") == ["a", "/b/c"]
