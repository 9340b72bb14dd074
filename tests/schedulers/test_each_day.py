"""`jobs/each_day.sh`: one run per day's folder, for all days there are."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from reliability.readers import FAKE_JOB, set_in

EACH_DAY = Path(__file__).parent.parent.parent / "jobs" / "each_day.sh"


def each_day(folder: Path, *options: str) -> tuple[int, str]:
    """Runs the script in cron's environment with a fake job. Returns its exit code and its output."""
    command = folder / "job"
    python, fake_job = FAKE_JOB
    command.write_text(f'#!/bin/sh\nshift\nexec {python} {fake_job} "$@"\n')
    command.chmod(0o755)
    environment = {"PATH": "/usr/bin:/bin", "SHELL": "/bin/sh", "MNIST_BATCH_COMMAND": str(command)}
    environment["MNIST_BATCH_PREDICT_METRICS_FILE"] = str(folder / "scans.prom")
    run = subprocess.run(
        [EACH_DAY, folder / "in", folder / "out", *options],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    return run.returncode, run.stdout


def part_times(folder: Path) -> dict[Path, int]:
    """When each part file was written."""
    return {path: path.stat().st_mtime_ns for path in folder.glob("out/*/predictions/*")}


@pytest.mark.slow
def test_only_changed_days_are_scored_again(sample_data: Path, tmp_path: Path) -> None:
    days = ("2026-11-21", "2026-11-22", "2026-11-23")
    for digit, day in enumerate(days):
        shutil.copytree(sample_data / "digits" / str(digit), tmp_path / "in" / day)
    (tmp_path / "in" / "2026-11-24").mkdir()
    (tmp_path / "in" / "incoming").mkdir()
    options = ["--quiet", "--overwrite", "--on-empty", "skip"]
    assert each_day(tmp_path, *options) == (0, "")
    assert all(set_in(tmp_path / "out" / day) for day in days)
    first = part_times(tmp_path)
    assert len(first) == 3
    assert each_day(tmp_path, *options) == (0, "")
    assert part_times(tmp_path) == first
    shutil.copy(sample_data / "digits/9/9_000.png", tmp_path / "in" / "2026-11-22" / "late.png")
    assert each_day(tmp_path, *options) == (0, "")
    again = part_times(tmp_path)
    assert {path.parts[-3] for path in again if again[path] != first[path]} == {"2026-11-22"}


def test_a_broken_day_does_not_stop_the_rest(sample_data: Path, tmp_path: Path) -> None:
    for day in ("2026-11-21", "2026-11-22", "2026-11-23"):
        shutil.copytree(sample_data / "digits" / "0", tmp_path / "in" / day)
    (tmp_path / "in" / "2026-11-22" / "x.zip").write_bytes(b"PK\3\4")
    code, output = each_day(tmp_path, "--quiet")
    assert (code, len(output.splitlines())) == (65, 1)
    assert set_in(tmp_path / "out" / "2026-11-21")
    assert set_in(tmp_path / "out" / "2026-11-23")
    assert 'mnist_batch_last_run_exit_code{task="scans"} 65.0' in (tmp_path / "scans.prom").read_text()


def test_no_days_is_ok_no_folder_is_an_error(tmp_path: Path) -> None:
    code, output = each_day(tmp_path, "--quiet")
    assert (code, "must be a folder of days" in output) == (66, True)
    (tmp_path / "in").mkdir()
    assert each_day(tmp_path, "--quiet") == (0, "")


def test_an_unusable_model_ends_it_at_once(sample_data: Path, tmp_path: Path) -> None:
    for day in ("2026-11-21", "2026-11-22"):
        shutil.copytree(sample_data / "digits" / "0", tmp_path / "in" / day)
    code, output = each_day(tmp_path, "--quiet", "--model", "none.keras")
    assert (code, len(output.splitlines())) == (78, 1)
