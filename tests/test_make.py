"""What `make` would run; nothing is run here."""

import subprocess

import pytest


@pytest.mark.parametrize("given", [[], ["INPUT="], ["INPUT=", "OUTPUT="]])
def test_without_an_input_the_sample_digits_are_scored(given, sample_data):
    command = ["make", "--dry-run", "predict", *given]
    run = subprocess.run(command, cwd=sample_data.parent, capture_output=True, text=True, check=True)
    assert 'jobs/predict.py "sample_data/digits" --output "out/digits"' in run.stdout
