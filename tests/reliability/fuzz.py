"""Mutated inputs in every form: rows, or an error of one line; never a traceback, a hang, a crash, or rows gone.

    make fuzz RUNS=20000                                    all of it
    python tests/reliability/fuzz.py --first 4711 --runs 1  one case again, by the seed that a finding names

A case follows from its seed alone. Cases run in worker processes of a few hundred, under a memory limit and an alarm,
so that a crash of the interpreter is seen and its seed is known.
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

sys.path.insert(0, str(Path(__file__).parents[1]))  # it is run as a script


from mnist_batch.errors import MnistBatchError
from reliability.fuzz_forms import Form, forms

_CASES_PER_WORKER = 400
_SECONDS_PER_CASE = 20
_MEMORY = 4 << 30
# Input errors, usage errors (an array that is not there any more), unusable models. A mutation is no failing disk (74).
_EXPECTED_CODES = (2, 65, 66, 78)


# How it is mutated

_INTERESTING = (0, 1, 2, 9, 10, 27, 28, 127, 128, 255, 256, 783, 784, 65_535, 65_536, 2**31 - 1, 2**31, 2**32 - 1)


def _place(random: Random, size: int) -> int:
    """Headers stand at the beginning, footers and directories at the end: both are met more often than the rest."""
    near = random.choice((16, 64, 600, size))
    position = random.randrange(max(1, min(near, size)))
    return position if random.random() < 0.6 else size - 1 - position


def _flip(random: Random, data: bytearray) -> None:
    data[_place(random, len(data))] ^= 1 << random.randrange(8)


def _set(random: Random, data: bytearray) -> None:
    data[_place(random, len(data))] = random.choice((0, 1, 0x7F, 0x80, 0xFF, random.randrange(256)))


def _insert(random: Random, data: bytearray) -> None:
    position = _place(random, len(data))
    data[position:position] = random.randbytes(random.choice((1, 2, 8, 100)))


def _delete(random: Random, data: bytearray) -> None:
    position = _place(random, len(data))
    del data[position : position + random.choice((1, 2, 8, 100))]


def _truncate(random: Random, data: bytearray) -> None:
    del data[_place(random, len(data)) :]


def _splice(random: Random, data: bytearray) -> None:
    """One part of the file over, or before, another part."""
    source, target, size = _place(random, len(data)), _place(random, len(data)), random.choice((4, 16, 64, 512))
    data[target : target + random.choice((0, size))] = data[source : source + size]


def _length(random: Random, data: bytearray) -> None:
    """A number as lengths and offsets are written, in either order; in tar they are octal digits."""
    position, width = _place(random, len(data)), random.choice((2, 4, 8))
    number = random.choice(_INTERESTING) if random.random() < 0.8 else random.getrandbits(8 * width)
    if random.random() < 0.15:
        data[position : position + 8] = b"%08o" % (number % 8**8)
    else:
        order = random.choice(("little", "big"))
        data[position : position + width] = (number % 256**width).to_bytes(width, order)


_MUTATIONS = (_flip, _flip, _set, _set, _insert, _delete, _truncate, _splice, _length, _length, _length)


def mutated(random: Random, content: bytes) -> bytes:
    data = bytearray(content)
    for _ in range(random.choice((1, 1, 1, 2, 3, 8))):
        if data:
            random.choice(_MUTATIONS)(random, data)
    return bytes(data)


# Workers


def run_case(form: Form, seed: int, folder: Path) -> str | None:
    """What is wrong with the outcome of one case, or None."""
    content = form.wrap(mutated(Random(seed), form.content))
    for name, other in form.beside.items():
        (folder / name).write_bytes(other)
    path = folder / "mutated"
    path.write_bytes(content)
    signal.alarm(_SECONDS_PER_CASE)
    try:
        form.read(path)
    except MnistBatchError as error:
        if len(str(error).splitlines()) != 1:
            return f"more than one line: {str(error)!r}"
        if error.exit_code not in _EXPECTED_CODES:
            return f"exit code {error.exit_code}: {error}"
    except BaseException:  # the alarm ends the process; anything else is a finding
        return traceback.format_exc()
    finally:
        signal.alarm(0)
    return None


def work(first: int, runs: int) -> None:
    """Runs cases in this process; says which one it is at, so that its end can be explained."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    warnings.simplefilter("error")
    every = forms()
    for seed in range(first, first + runs):
        form = every[seed % len(every)]
        print(f"at {seed} {form.name}", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            if (wrong := run_case(form, seed, Path(folder))) is not None:
                print(f"FINDING seed {seed} ({form.name}): {wrong}", flush=True)


def _end(worker: subprocess.CompletedProcess[str]) -> str:
    """What became of a worker that did not come to its end."""
    at = [line for line in worker.stdout.splitlines() if line.startswith("at ")]
    what = signal.Signals(-worker.returncode).name if worker.returncode < 0 else f"exit {worker.returncode}"
    return f"FINDING seed {at[-1].removeprefix('at ') if at else '?'}: {what} {worker.stderr[-2000:]}"


def fuzz(first: int, runs: int) -> int:
    """The number of findings in `runs` cases, which are printed."""
    findings, stop = 0, first + runs
    while first < stop:
        count = min(_CASES_PER_WORKER, stop - first)
        command = [sys.executable, __file__, "--worker", "--first", str(first), "--runs", str(count)]
        worker = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        lines = [line for line in worker.stdout.splitlines(keepends=True) if not line.startswith("at ")]
        print("".join(lines), end="", flush=True)
        findings += sum(line.startswith("FINDING") for line in lines)
        done = sum(line.startswith("at ") for line in worker.stdout.splitlines())
        if worker.returncode != 0:
            findings += 1
            print(_end(worker), flush=True)
            if not done:
                return findings  # not even the first case was interrupted_run: no use in going on
        first += done
    print(f"{runs} mutated inputs, {findings} findings")
    return findings


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--worker", action="store_true", help="run the cases in this process")
    options = parser.parse_args(arguments)
    if options.worker:
        work(options.first, options.runs)
        return 0
    return 1 if fuzz(options.first, options.runs) else 0


if __name__ == "__main__":
    sys.exit(main())
