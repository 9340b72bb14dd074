"""Random mishaps during and between the starts of small runs. Each start ends in the right bytes or in a refusal.

RUNS in the environment is how many schedules, two by default: `make torture RUNS=200`. SEED repeats the same ones.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from random import Random

import pytest

from mnist_batch.model.bundled import resolve_model
from reliability.readers import FAKE_JOB, mount_disk, set_in

RUNS = int(os.environ.get("RUNS") or 2)
SEED = int(os.environ.get("SEED") or 1)
MAX_STARTS = 4
LIMIT_SECONDS = 60
# What a refusal must say, by exit code: which of the mishaps is its cause.
CAUSES = {
    65: r"must not change|must stay|header promises",
    66: r"must be a file",
    73: r"but holds (an interrupted|a finished) run that differs \(.+\)|this run, but parts of it are missing",
    74: r"must be (written|readable), but: (No space left on device|No such file or directory)",
    78: r"must not change while|a model must be .* (found a folder without saved_model\.pb|found nothing)",
}

pytestmark = pytest.mark.slow


@dataclass
class World:
    """What a run depends on. Each of the three has two variants, and a run must give the bytes of one combination."""

    folder: Path
    sample_data: Path
    output: Path
    images: int = 0
    model: int = 0
    environment: int = 0
    references: dict[tuple[int, int, int], dict[str, str]] = field(default_factory=dict)

    @property
    def state(self) -> tuple[int, int, int]:
        return self.images, self.model, self.environment

    def set_images(self, variant: int) -> None:
        """Replaces the images by others of the same number, size and name."""
        pixels = (self.sample_data / "digits-images-idx3-ubyte").read_bytes()
        content = pixels if variant == 0 else pixels[:16] + pixels[16:][::-1]
        new = self.folder / "new"
        new.write_bytes(content)
        os.utime(new, (1_000_000_000 + variant, 1_000_000_000 + variant))
        new.rename(self.folder / "digits.idx")
        self.images = variant

    def set_model(self, variant: int) -> None:
        """Replaces the model by one that differs in a byte."""
        new = self.folder / "new model"
        shutil.copytree(resolve_model("seed"), new)
        (new / "assets").mkdir(exist_ok=True)
        (new / "assets" / "variant").write_text(str(variant))
        shutil.rmtree(self.folder / "model", ignore_errors=True)
        new.rename(self.folder / "model")
        self.model = variant

    def start(self, output: Path, *options: str) -> subprocess.Popen[str]:
        inputs = [str(self.folder / "digits.idx"), "--model", str(self.folder / "model")]
        command = [*FAKE_JOB, *inputs, "-o", str(output), "--quiet", "--rows-per-part", "14", *options]
        environment = os.environ | {"FAKE_SECONDS": "0.01"}
        if self.environment:
            environment["DNNL_MAX_CPU_ISA"] = "SSE41"
        return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)

    def find_references(self) -> None:
        """Runs undisturbed in each state, and keeps the parts."""
        for images, model, self.environment in product((0, 1), repeat=3):
            self.set_images(images)
            self.set_model(model)
            output = self.folder / f"reference {self.state}"
            _, err = self.start(output).communicate(timeout=LIMIT_SECONDS)
            parts = set_in(output)
            assert parts is not None, err
            self.references[self.state] = parts
        assert len({json.dumps(parts) for parts in self.references.values()}) == 8


Mishap = Callable[[World, subprocess.Popen[str], Random], None]


def kill(_: World, run: subprocess.Popen[str], __: Random) -> None:
    run.kill()


def terminate(_: World, run: subprocess.Popen[str], random: Random) -> None:
    run.send_signal(random.choice([signal.SIGTERM, signal.SIGHUP, signal.SIGINT]))


def suspend(_: World, run: subprocess.Popen[str], random: Random) -> None:
    run.send_signal(signal.SIGSTOP)
    time.sleep(random.uniform(0, 0.3))
    run.send_signal(signal.SIGCONT)


def replace_images(world: World, _: subprocess.Popen[str], __: Random) -> None:
    world.set_images(1 - world.images)


def replace_model(world: World, _: subprocess.Popen[str], __: Random) -> None:
    world.set_model(1 - world.model)


def remove_staging(world: World, _: subprocess.Popen[str], random: Random) -> None:
    part = random.choice(["", "predictions", "shards", "run.json"])
    path = world.output / "_work" / part
    with suppress(OSError):
        path.unlink() if path.is_file() else shutil.rmtree(path)


def fill_the_disk(world: World, run: subprocess.Popen[str], _: Random) -> None:
    filler = world.output.parent / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    with suppress(subprocess.TimeoutExpired):
        run.wait(1)
    filler.unlink()


def change_environment(world: World, _: subprocess.Popen[str], __: Random) -> None:
    """Takes effect at the next start."""
    world.environment = 1 - world.environment


MISHAPS: list[Mishap] = [
    *(kill, terminate, suspend, replace_images, replace_model, remove_staging, fill_the_disk, change_environment)
]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB."""
    folder = tmp_path / "disk"
    with mount_disk(folder, "2m"):
        yield folder


def test_random_schedules(sample_data: Path, tmp_path: Path, disk: Path) -> None:
    outcomes = Counter[str]()
    world = World(tmp_path, sample_data, disk / "out")
    world.find_references()
    for number in range(RUNS):
        random = Random(SEED * 1_000_000 + number)
        where = f"SEED={SEED}, schedule {number}"
        world.set_images(0)
        world.set_model(0)
        world.environment = 0
        for _ in range(random.randint(1, MAX_STARTS)):
            outcomes[run_with_mishaps(world, random, where)] += 1
        finish(world, where)
        shutil.rmtree(world.output)
    print(f"{RUNS} schedules: {dict(sorted(outcomes.items()))}")
    assert outcomes["done"] + outcomes["refused"] + outcomes["ended"] > 0


def run_with_mishaps(world: World, random: Random, where: str) -> str:
    """One start during which something happens. Returns how it ended: done, refused, or ended by a signal."""
    expected, environment = [world.references[world.state]], world.environment
    complete_before = set_in(world.output)
    run = world.start(world.output, *random.choice([(), (), ("--overwrite",)]))
    for mishap in random.sample(MISHAPS, random.randint(1, 2)):
        time.sleep(random.choice([0.0, random.uniform(0, 1.5)]))
        mishap(world, run, random)
        expected.append(world.references[world.images, world.model, environment])
    _, err = run.communicate(timeout=LIMIT_SECONDS)
    # Ctrl-C before the program has begun is Python's own.
    early = run.returncode == -signal.SIGINT and err.endswith("KeyboardInterrupt\n") and "cli/app.py" not in err
    assert "Traceback" not in err or early, f"{where}: {err}"
    after = set_in(world.output)
    if run.returncode == 0:
        assert after in expected, where
        return "done"
    assert after is None or after in [complete_before, *expected], where
    if run.returncode < 0 or run.returncode > 128:
        return "ended"
    assert run.returncode in CAUSES, f"{where}: {run.returncode}: {err}"
    assert len(err.splitlines()) == 1, f"{where}: {err}"
    assert re.search(CAUSES[run.returncode], err), f"{where}: {run.returncode}: {err}"
    return "refused"


def finish(world: World, where: str) -> None:
    """Starts again without mishaps. The run continues, or is refused because it is another one now; then overwrites."""
    for options in ((), ("--overwrite",)):
        run = world.start(world.output, *options)
        _, err = run.communicate(timeout=LIMIT_SECONDS)
        if run.returncode == 0:
            break
        assert run.returncode == 73, f"{where}: {run.returncode}: {err}"
        assert re.search(CAUSES[73], err), f"{where}: {err}"
    assert run.returncode == 0, f"{where}: {err}"
    assert set_in(world.output) == world.references[world.state], where
    manifest = json.loads((world.output / "manifest.json").read_text())
    assert manifest["rows"] == 300
    if (world.output / "_work").exists():  # of another run, which a later start may continue
        other = json.loads((world.output / "_work/run.json").read_text())
        assert other["fingerprint"] != manifest["fingerprint"], where
