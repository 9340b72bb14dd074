"""Reads mutated inputs of every form. Each must give all its rows, or an error of one line.

A traceback, a hang, a crash or a missing row is a finding.

    make fuzz RUNS=20000                                    the full run
    make fuzz RUNS=20000 ONLY=csv                           the same for the forms with this in their names
    python tests/reliability/fuzz.py --first 4711 --runs 1  repeats one case, by the seed printed with the finding
    make fuzz-models RUNS=5000                              loads mutated models instead (an hour)

The seed and ONLY alone determine a case. Worker processes run a few hundred cases each, under a memory limit and an
alarm, so a crash of the interpreter is noticed and its seed is known.
"""

from __future__ import annotations

import argparse
import resource
import signal
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parents[1]))  # this file is run as a script

from mnist_batch.errors import MnistBatchError
from reliability.fuzz_forms import Form, forms

_CASES_PER_WORKER = 400
_SECONDS_PER_CASE = 20
_SECONDS_PER_MODEL = 60
_MAX_MEMORY = 4 << 30
_MAX_MEMORY_WITH_TENSORFLOW = 12 << 30
# Input errors, usage errors (an array that is gone), unusable models. Not 74: a mutation is not a failing disk.
_EXPECTED_CODES = (2, 65, 66, 78)


# Mutations

_EDGE_VALUES = (0, 1, 2, 9, 10, 27, 28, 127, 128, 255, 256, 783, 784, 65_535, 65_536, 2**31 - 1, 2**31, 2**32 - 1)


def _pick_position(random: Random, size: int) -> int:
    """A position in the file. Prefers the ends, because headers, footers and directories are there."""
    near = random.choice((16, 64, 600, size))
    position = random.randrange(max(1, min(near, size)))
    return position if random.random() < 0.6 else size - 1 - position


def _flip_bit(random: Random, data: bytearray) -> None:
    data[_pick_position(random, len(data))] ^= 1 << random.randrange(8)


def _set_byte(random: Random, data: bytearray) -> None:
    data[_pick_position(random, len(data))] = random.choice((0, 1, 0x7F, 0x80, 0xFF, random.randrange(256)))


def _insert(random: Random, data: bytearray) -> None:
    position = _pick_position(random, len(data))
    data[position:position] = random.randbytes(random.choice((1, 2, 8, 100)))


def _delete(random: Random, data: bytearray) -> None:
    position = _pick_position(random, len(data))
    del data[position : position + random.choice((1, 2, 8, 100))]


def _truncate(random: Random, data: bytearray) -> None:
    del data[_pick_position(random, len(data)) :]


def _splice(random: Random, data: bytearray) -> None:
    """Copies one part of the file over another part, or in front of it."""
    source, target = _pick_position(random, len(data)), _pick_position(random, len(data))
    size = random.choice((4, 16, 64, 512))
    data[target : target + random.choice((0, size))] = data[source : source + size]


def _set_length(random: Random, data: bytearray) -> None:
    """Writes a number the way lengths and offsets are written: in either byte order, or as octal digits like tar."""
    position, width = _pick_position(random, len(data)), random.choice((2, 4, 8))
    number = random.choice(_EDGE_VALUES) if random.random() < 0.8 else random.getrandbits(8 * width)
    if random.random() < 0.15:
        data[position : position + 8] = b"%08o" % (number % 8**8)
    else:
        order = random.choice(("little", "big"))
        data[position : position + width] = (number % 256**width).to_bytes(width, order)


# Repeated ones are chosen more often.
_MUTATIONS = (
    *(_flip_bit, _flip_bit, _set_byte, _set_byte, _insert, _delete, _truncate, _splice),
    *(_set_length, _set_length, _set_length),
)


def mutate(random: Random, content: bytes) -> bytes:
    data = bytearray(content)
    for _ in range(random.choice((1, 1, 1, 2, 3, 8))):
        if data:
            random.choice(_MUTATIONS)(random, data)
    return bytes(data)


# Workers


def run_case(form: Form, seed: int, folder: Path, seconds: int) -> str | None:
    """Reads one mutated file. Returns what is wrong with the outcome, or None. seconds: the limit of the case."""
    content = form.wrap(mutate(Random(seed), form.content))
    for name, other in form.beside.items():
        (folder / name).write_bytes(other)
    path = folder / "mutated"
    path.write_bytes(content)
    signal.alarm(seconds)
    try:
        form.read(path)
    except MnistBatchError as error:
        if len(str(error).splitlines()) != 1:
            return f"more than one line: {str(error)!r}"
        if error.exit_code not in _EXPECTED_CODES:
            return f"exit code {error.exit_code}: {error}"
    except BaseException:  # any other exception is a finding; the alarm does not come here, it ends the process
        return traceback.format_exc()
    finally:
        signal.alarm(0)
    return None


def list_forms(models: bool) -> list[Form]:
    if not models:
        return forms()
    from reliability.fuzz_models import model_forms

    return model_forms()


def run_worker(first: int, runs: int, only: str, models: bool) -> None:
    """Runs cases in this process. Prints each seed before its case, so that the seed of a crash is known."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    limit = _MAX_MEMORY_WITH_TENSORFLOW if models else _MAX_MEMORY
    seconds = _SECONDS_PER_MODEL if models else _SECONDS_PER_CASE
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    all_forms = [form for form in list_forms(models) if only in form.name]
    warnings.simplefilter("error")
    for seed in range(first, first + runs):
        form = all_forms[seed % len(all_forms)]
        print(f"at {seed} {form.name}", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            if (problem := run_case(form, seed, Path(folder), seconds)) is not None:
                print(f"FINDING seed {seed} ({form.name}): {problem}", flush=True)


def _describe_crash(worker: subprocess.CompletedProcess[str]) -> str:
    """The finding for a worker that ended before its last case was done."""
    at = [line for line in worker.stdout.splitlines() if line.startswith("at ")]
    cause = signal.Signals(-worker.returncode).name if worker.returncode < 0 else f"exit {worker.returncode}"
    return f"FINDING seed {at[-1].removeprefix('at ') if at else '?'}: {cause} {worker.stderr[-2000:]}"


def fuzz(first: int, runs: int, only: str, models: bool) -> int:
    """Runs `runs` cases in worker processes and prints their findings. Returns how many there are.

    only: takes only the forms with this text in their names.
    models: mutates models instead of inputs.
    """
    findings, stop = 0, first + runs
    while first < stop:
        count = min(_CASES_PER_WORKER, stop - first)
        command = [sys.executable, __file__, "--worker", "--first", str(first), "--runs", str(count), "--only", only]
        command += ["--models"] if models else []
        worker = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        lines = [line for line in worker.stdout.splitlines(keepends=True) if not line.startswith("at ")]
        print("".join(lines), end="", flush=True)
        findings += sum(line.startswith("FINDING") for line in lines)
        done = sum(line.startswith("at ") for line in worker.stdout.splitlines())
        if worker.returncode != 0:
            findings += 1
            print(_describe_crash(worker), flush=True)
            if not done:
                return findings  # the worker did not even start its first case, so the next would not either
        first += done
    print(f"{runs} mutated {'models' if models else 'inputs'}, {findings} findings")
    return findings


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--only", default="", help="only forms with this text in their names")
    parser.add_argument("--models", action="store_true", help="mutate models instead of inputs")
    parser.add_argument("--worker", action="store_true", help="run the cases in this process")
    options = parser.parse_args(arguments)
    if options.worker:
        run_worker(options.first, options.runs, options.only, options.models)
        return 0
    return 1 if fuzz(options.first, options.runs, options.only, options.models) else 0


if __name__ == "__main__":
    sys.exit(main())
