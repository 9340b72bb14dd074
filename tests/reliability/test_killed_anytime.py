"""Runs of the real model that are killed at random moments until they are done, while a reader looks on.

RUNS of them, two if that is not set: `make torture RUNS=200`. SEED repeats the moments.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

from reliability.readers import parts_of, set_in

RUNS = int(os.environ.get("RUNS") or 2)
SEED = int(os.environ.get("SEED") or 1)
ROWS = 12_000
PARTS = 40
MOST_KILLS = 4


@pytest.fixture(scope="module")
def digits(sample_data, tmp_path_factory):
    """The sample digits forty times, in one file without labels."""
    pixels = (sample_data / "digits-images-idx3-ubyte").read_bytes()[16:]
    path = tmp_path_factory.mktemp("input") / "digits.idx"
    path.write_bytes(b"\0\0\x08\x03" + ROWS.to_bytes(4, "big") + (28).to_bytes(4, "big") * 2 + pixels * (ROWS // 300))
    return path


def command(digits, output, rows_per_part=ROWS // PARTS, *options):
    program = [sys.executable, "-m", "mnist_batch", "predict", digits, "-o", output, "--quiet"]
    return [*map(str, program), "--rows-per-part", str(rows_per_part), *options]


@pytest.fixture(scope="module")
def reference(digits, tmp_path_factory):
    output = tmp_path_factory.mktemp("reference") / "out"
    subprocess.run(command(digits, output), check=True)
    assert len(set_in(output)) == PARTS
    return set_in(output)


@pytest.fixture(scope="module")
def older(digits, tmp_path_factory):
    """A complete set of another run, for `--overwrite`."""
    output = tmp_path_factory.mktemp("older") / "out"
    subprocess.run(command(digits, output, ROWS // 3), check=True)
    return output


@contextmanager
def watched(output: Path):
    """A reader in another process, who must not see a set that is wrong."""
    program = [sys.executable, str(Path(__file__).with_name("poller.py")), str(output)]
    reader = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert reader.stdout.readline() == "looking\n"
        yield
    finally:
        out, err = reader.communicate()
    assert reader.returncode == 0, err
    assert json.loads(out)["looks"] > 0


def progress(output: Path) -> int:
    """How many steps a run has behind it: parts, then documents staged, then what the commit does."""
    work = output / "_work"
    parts = len(list((work / "shards").glob("0*.json")))
    late = [work / "manifest.json", work / "commit.json", work / "old"]
    return parts + sum(path.exists() for path in late)


def killed(command, output, random):
    """Starts a run and kills it at a random step that it has still before it. Returns whether it was caught."""
    run = subprocess.Popen(command)
    step = random.randint(min(progress(output), PARTS) + 1, PARTS + 3)
    while run.poll() is None and progress(output) < step:
        time.sleep(0.0005)
    time.sleep(random.choice([0, random.uniform(0, 0.05)]))
    run.kill()
    return run.wait() != 0


def test_a_run_killed_until_it_is_done_ends_with_the_same_bytes_and_no_reader_sees_a_wrong_set(
    digits, reference, older, tmp_path
):
    kills = 0
    for number in range(RUNS):
        random = Random(SEED * 1_000_000 + number)
        output = tmp_path / str(number)
        start = command(digits, output)
        if number % 2:
            shutil.copytree(older, output)
            start.append("--overwrite")
        with watched(output):
            for _ in range(random.randint(1, MOST_KILLS)):
                kills += killed(start, output, random)
                assert set_in(output) in (None, reference, set_in(older)), f"SEED={SEED}, run {number}"
            assert subprocess.run(start, check=False).returncode == 0, f"SEED={SEED}, run {number}"
        assert set_in(output) == reference, f"SEED={SEED}, run {number}"
        assert not (output / "_work").exists(), f"SEED={SEED}, run {number}"
        shutil.rmtree(output)
    print(f"{RUNS} runs, killed {kills} times, all of them ended with the same bytes")
    assert kills >= RUNS / 2


def test_the_reader_would_see_a_wrong_set(older, tmp_path):
    output = tmp_path / "out"
    shutil.copytree(older, output)
    part = output / min(parts_of(output))
    part.write_bytes(part.read_bytes()[:-1])
    with pytest.raises(AssertionError, match=r"part-00000\.parquet is not what the manifest says"), watched(output):
        time.sleep(1)
