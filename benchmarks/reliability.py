"""How soon a run ends after SIGTERM, and whether its memory grows with its rows.

    MNIST_BATCH_DATA=... python benchmarks/reliability.py [--rows 600000] [--repeats 5]

Prints a Markdown table, and exits 1 where a target is missed. The input is an idx file of MNIST's test images, again
and again, in a temporary folder: of ten times the rows for the second measurement of memory, 4.7 GB by default. Memory
is the peak of the process's resident set, as the system counts it.
"""

from __future__ import annotations

import argparse
import gzip
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

IDX_HEADER_BYTES = 16
IMAGE_BYTES = 28 * 28
# What cron, systemd and Airflow leave a process before they kill it, at the least.
TARGET_SECONDS = 5.0
# Ten times the rows; allocators and page tables may cost a little.
TARGET_GROWTH = 1.1
# A signal is to come while most of the run is ahead.
PARTS = 20
# Linux counts in KB, macOS in bytes.
RSS_UNIT = 1 if sys.platform == "darwin" else 1024


def write_idx(path: Path, pixels: bytes, rows: int) -> Path:
    """An idx file of so many images, which are those of `pixels` again and again."""
    whole, rest = divmod(rows * IMAGE_BYTES, len(pixels))
    with path.open("wb") as file:
        file.write(b"\0\0\x08\x03" + rows.to_bytes(4, "big") + (28).to_bytes(4, "big") * 2)
        for _ in range(whole):
            file.write(pixels)
        file.write(pixels[:rest])
    return path


def started(images: Path, output: Path, *options: str) -> subprocess.Popen[bytes]:
    """A run as a scheduler starts it."""
    command = [sys.executable, "-m", "mnist_batch", "predict", str(images), "--output", str(output), *options]
    return subprocess.Popen([*command, "--labels", "none", "--quiet"])


def seconds_to_end(images: Path, output: Path, rows: int) -> float:
    """From SIGTERM, sent when the first part is there, to the end of the process."""
    run = started(images, output, "--rows-per-part", str(rows // PARTS))
    while not (output / "_work" / "shards" / "00000.json").exists():
        if run.poll() is not None:
            sys.exit(f"a run must live until its first part is there, ended with {run.returncode}: see its message")
        time.sleep(0.001)
    sent = time.monotonic()
    run.send_signal(signal.SIGTERM)
    code = run.wait()
    seconds = time.monotonic() - sent
    if code != 128 + signal.SIGTERM:
        sys.exit(f"a run must end with 143, ended with {code}: it was done too soon, give it more --rows")
    return seconds


def peak_bytes(images: Path, output: Path) -> int:
    """The largest resident set of a run from start to end."""
    run = started(images, output)
    _, status, usage = os.wait4(run.pid, 0)
    run.returncode = os.waitstatus_to_exitcode(status)
    if run.returncode != 0:
        sys.exit(f"a run must end with 0, ended with {run.returncode}: see its message")
    return usage.ru_maxrss * RSS_UNIT


def table(folder: Path, pixels: bytes, rows: int, repeats: int) -> Iterator[tuple[str, str, str, bool | None]]:
    """What is measured, its target, what was found, and whether that meets it; None where there is no target."""
    images = write_idx(folder / "images", pixels, rows)
    seconds = statistics.median(seconds_to_end(images, folder / f"ended {n}", rows) for n in range(repeats))
    name = f"from SIGTERM to the end, while scoring, median of {repeats}"
    yield name, f"under {TARGET_SECONDS:g} s", f"{seconds:.2f} s", seconds < TARGET_SECONDS
    small = peak_bytes(images, folder / "small")
    yield f"peak memory of {rows:,} rows", "-", f"{small / 1e6:,.0f} MB", None
    large = peak_bytes(write_idx(images, pixels, rows * 10), folder / "large")
    target = f"at most {TARGET_GROWTH:g} times that"
    found = f"{large / 1e6:,.0f} MB, {large / small:.2f} times"
    yield f"peak memory of {rows * 10:,} rows", target, found, large <= small * TARGET_GROWTH


def main(arguments: Sequence[str]) -> int:
    """Prints the table; 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=600_000, help="of the smaller input; the larger has ten times")
    parser.add_argument("--repeats", type=int, default=5, help="how often a run is ended")
    options = parser.parse_args(arguments)
    if options.rows < PARTS or options.repeats < 1:
        parser.error(f"--rows must be at least {PARTS} and --repeats at least 1")
    if not (data := os.environ.get("MNIST_BATCH_DATA")):
        parser.error("MNIST_BATCH_DATA must name the folder that holds mnist/")
    with gzip.open(Path(data) / "mnist" / "t10k-images-idx3-ubyte.gz") as file:
        pixels = file.read()[IDX_HEADER_BYTES:]
    verdicts = []
    print("| | target | measured | verdict |\n|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for what, target, found, met in table(Path(folder), pixels, options.rows, options.repeats):
            verdict = "" if met is None else "met" if met else "missed"
            print(f"| {what} | {target} | {found} | {verdict} |", flush=True)
            verdicts.append(met)
    return 1 if False in verdicts else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
