"""What `make` would run; nothing is run here."""

import subprocess

import pytest


def predicted(folder, *given):
    """What would be scored, and where to."""
    command = ["make", "--dry-run", "predict", *given]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    (line,) = (line for line in run.stdout.splitlines() if "jobs/predict.py" in line)
    return line.split('"')[1::2]


@pytest.mark.parametrize("given", [[], ["INPUT="], ["INPUT=", "OUTPUT="]])
def test_without_an_input_the_sample_digits_are_scored(given, sample_data):
    assert predicted(sample_data.parent, *given) == ["sample_data/digits", "out/digits"]


@pytest.mark.parametrize(
    ("scored", "output"),
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
def test_the_output_is_named_after_the_input_or_the_folder_before_a_glob(scored, output, sample_data):
    assert predicted(sample_data.parent, f"INPUT={scored}") == [scored, output]


def test_an_output_that_is_named_is_taken(sample_data):
    assert predicted(sample_data.parent, "INPUT=a", "OUTPUT=/b/c") == ["a", "/b/c"]
