"""`jobs/each_day.sh`: partitions by day, none of them chosen by a clock."""

import shutil
import subprocess
from pathlib import Path

from reliability.readers import FAKE_JOB, set_in

EACH_DAY = Path(__file__).parent.parent.parent / "jobs" / "each_day.sh"


def each_day(folder, *options):
    """Its exit code, and what it printed, under cron's environment."""
    command = folder / "job"
    python, fake = FAKE_JOB
    command.write_text(f'#!/bin/sh\nshift\nexec {python} {fake} "$@"\n')
    command.chmod(0o755)
    environment = {"PATH": "/usr/bin:/bin", "SHELL": "/bin/sh", "MNIST_BATCH_COMMAND": str(command)}
    environment["MNIST_BATCH_PREDICT_METRICS_FILE"] = str(folder / "scans.prom")
    run = subprocess.run(
        [EACH_DAY, folder / "in", folder / "out", *options],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    return run.returncode, run.stdout


def written(folder):
    return {path: path.stat().st_mtime_ns for path in folder.glob("out/*/predictions/*")}


def test_every_day_is_scored_into_a_folder_of_its_own_and_only_what_changed_again(sample_data, tmp_path):
    days = ("2026-11-21", "2026-11-22", "2026-11-23")
    for digit, day in enumerate(days):
        shutil.copytree(sample_data / "digits" / str(digit), tmp_path / "in" / day)
    (tmp_path / "in" / "2026-11-24").mkdir()
    (tmp_path / "in" / "incoming").mkdir()
    options = ["--quiet", "--overwrite", "--on-empty", "skip"]
    assert each_day(tmp_path, *options) == (0, "")
    assert all(set_in(tmp_path / "out" / day) for day in days)
    first = written(tmp_path)
    assert len(first) == 3
    assert each_day(tmp_path, *options) == (0, "")
    assert written(tmp_path) == first
    shutil.copy(sample_data / "digits/9/9_000.png", tmp_path / "in" / "2026-11-22" / "late.png")
    assert each_day(tmp_path, *options) == (0, "")
    again = written(tmp_path)
    assert {path.parts[-3] for path in again if again[path] != first[path]} == {"2026-11-22"}


def test_a_day_that_is_refused_keeps_no_other_from_being_scored_and_its_metrics_stay(sample_data, tmp_path):
    for day in ("2026-11-21", "2026-11-22", "2026-11-23"):
        shutil.copytree(sample_data / "digits" / "0", tmp_path / "in" / day)
    (tmp_path / "in" / "2026-11-22" / "x.zip").write_bytes(b"PK\3\4")
    code, said = each_day(tmp_path, "--quiet")
    assert (code, len(said.splitlines())) == (65, 1)
    assert set_in(tmp_path / "out" / "2026-11-21")
    assert set_in(tmp_path / "out" / "2026-11-23")
    assert 'mnist_batch_last_run_exit_code{task="scans"} 65.0' in (tmp_path / "scans.prom").read_text()


def test_no_day_yet_is_nothing_to_do_and_no_folder_is_a_mistake(tmp_path):
    code, said = each_day(tmp_path, "--quiet")
    assert (code, "must be a folder of days" in said) == (66, True)
    (tmp_path / "in").mkdir()
    assert each_day(tmp_path, "--quiet") == (0, "")


def test_what_is_no_day_s_fault_ends_it_at_once(sample_data, tmp_path):
    for day in ("2026-11-21", "2026-11-22"):
        shutil.copytree(sample_data / "digits" / "0", tmp_path / "in" / day)
    code, said = each_day(tmp_path, "--quiet", "--model", "none.keras")
    assert (code, len(said.splitlines())) == (78, 1)
