"""Kills runs of the real model at random moments, then lets them finish, while another process reads the output.

RUNS in the environment is how many runs, two by default: `make torture RUNS=200`. SEED repeats the same moments.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random

import numpy as np
import pytest
from contracts import idx_bytes

from reliability.readers import parts_of, set_in

RUNS = int(os.environ.get("RUNS") or 2)
SEED = int(os.environ.get("SEED") or 1)
ROWS = 12_000
PARTS = 40
MAX_KILLS = 4
# Each run reads one of these, in turn.
FORMS = ("idx", "csv", "npy")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def digits(sample_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """The sample digits forty times, in one file of each form without labels."""
    pixels = np.frombuffer((sample_data / "digits-images-idx3-ubyte").read_bytes()[16:], np.uint8)
    images = np.tile(pixels, ROWS // 300).reshape(ROWS, 28, 28)
    folder = tmp_path_factory.mktemp("input")
    paths = {form: folder / f"digits.{form}" for form in FORMS}
    paths["idx"].write_bytes(idx_bytes(images))
    paths["csv"].write_text("".join(f"{','.join(map(str, row))}\n" for row in images.reshape(ROWS, 784).tolist()))
    np.save(paths["npy"], images)
    return paths


def command(digits: Path, output: Path, rows_per_part: int = ROWS // PARTS) -> list[str]:
    program = [sys.executable, "-m", "mnist_batch", "predict", str(digits), "-o", str(output), "--quiet"]
    return [*program, "--rows-per-part", str(rows_per_part)]


@pytest.fixture(scope="module")
def references(digits: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, dict[str, str]]:
    """The parts of a run that was not killed, for each form."""
    references = {}
    for form in FORMS[: max(RUNS, 1)]:
        output = tmp_path_factory.mktemp("reference") / "out"
        subprocess.run(command(digits[form], output), check=True)
        parts = set_in(output)
        assert parts is not None
        assert len(parts) == PARTS
        references[form] = parts
    return references


@pytest.fixture(scope="module")
def older(digits: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete set of another run, for `--overwrite`."""
    output = tmp_path_factory.mktemp("older") / "out"
    subprocess.run(command(digits["idx"], output, ROWS // 3), check=True)
    return output


@contextmanager
def poll(output: Path) -> Iterator[None]:
    """Reads the output in another process meanwhile. Fails if that process sees an inconsistent set."""
    program = [sys.executable, str(Path(__file__).with_name("poller.py")), str(output)]
    reader = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "looking\n"
        yield
    finally:
        out, err = reader.communicate()
    assert reader.returncode == 0, err
    assert json.loads(out)["looks"] > 0


def count_steps(output: Path) -> int:
    """How many steps of a run are done: its parts, then the staged documents, then the steps of the commit."""
    work = output / "_work"
    parts = len(list((work / "shards").glob("0*.json.gz")))
    commit_steps = [work / "manifest.json", work / "commit.json", work / "old"]
    return parts + sum(path.exists() for path in commit_steps)


def run_and_kill(command: Sequence[str], output: Path, random: Random) -> bool:
    """Starts a run and kills it at a random one of its remaining steps. Returns whether the kill came in time."""
    run = subprocess.Popen(command)
    step = random.randint(min(count_steps(output), PARTS) + 1, PARTS + 3)
    while run.poll() is None and count_steps(output) < step:
        time.sleep(0.0005)
    time.sleep(random.choice([0, random.uniform(0, 0.05)]))
    run.kill()
    return run.wait() != 0


def test_killed_runs_end_with_the_same_bytes(
    digits: Mapping[str, Path], references: Mapping[str, dict[str, str]], older: Path, tmp_path: Path
) -> None:
    kills = 0
    for number in range(RUNS):
        random = Random(SEED * 1_000_000 + number)
        output, form = tmp_path / str(number), FORMS[number % len(FORMS)]
        start, reference = command(digits[form], output), references[form]
        if number % 2:
            shutil.copytree(older, output)
            start.append("--overwrite")
        with poll(output):
            for _ in range(random.randint(1, MAX_KILLS)):
                kills += run_and_kill(start, output, random)
                assert set_in(output) in (None, reference, set_in(older)), f"SEED={SEED}, run {number}"
            assert subprocess.run(start, check=False).returncode == 0, f"SEED={SEED}, run {number}"
        assert set_in(output) == reference, f"SEED={SEED}, run {number}"
        assert not (output / "_work").exists(), f"SEED={SEED}, run {number}"
        shutil.rmtree(output)
    print(f"{RUNS} runs, killed {kills} times, all ended with the same bytes")
    assert kills >= RUNS / 2


def test_poller_detects_an_inconsistent_set(older: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    shutil.copytree(older, output)
    part = output / min(parts_of(output))
    part.write_bytes(part.read_bytes()[:-1])
    with pytest.raises(AssertionError, match=r"part-00000\.parquet is not what the manifest says"), poll(output):
        time.sleep(1)
