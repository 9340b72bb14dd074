"""How soon a run ends after SIGTERM while it is scoring.

    MNIST_BATCH_DATA=... python benchmarks/reliability.py [--rows 600000] [--repeats 5] [--folder build/bench]

Prints a Markdown table. Exits with 1 if the target is missed.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from inputs import Digits, make_input

# The shortest time that cron, systemd and Airflow give a process before they kill it.
TARGET_SECONDS = 5.0
# Parts per run. The signal is sent after the first, so most of the run is still ahead.
PARTS = 20


def measure_seconds_to_end(images: Path, output: Path, rows: int) -> float:
    """Seconds from SIGTERM, sent when the first part is written, to the end of the process."""
    command = [sys.executable, "-m", "mnist_batch", "predict", str(images), "-o", str(output), "--labels", "none", "-q"]
    run = subprocess.Popen([*command, "--rows-per-part", str(rows // PARTS)])
    while not (output / "_work" / "shards" / "00000.json.gz").exists():
        if run.poll() is not None:
            sys.exit(f"a run must live until its first part is written, ended with {run.returncode}: see its message")
        time.sleep(0.001)
    sent = time.monotonic()
    run.send_signal(signal.SIGTERM)
    code = run.wait()
    seconds = time.monotonic() - sent
    if code != 128 + signal.SIGTERM:
        sys.exit(f"a run must end with 143, ended with {code}: it finished too soon, use more --rows")
    return seconds


def main(arguments: Sequence[str]) -> int:
    """Prints the table. Returns 1 if the target is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=600_000)
    parser.add_argument("--repeats", type=int, default=5, help="number of runs")
    parser.add_argument("--folder", type=Path, default=Path("build/bench"), help="for the input, which is kept")
    options = parser.parse_args(arguments)
    if options.rows < PARTS or options.repeats < 1:
        parser.error(f"--rows must be at least {PARTS} and --repeats at least 1")
    if not (data := os.environ.get("MNIST_BATCH_DATA")):
        parser.error("MNIST_BATCH_DATA must name the folder that holds mnist/")
    images = make_input(options.folder, "idx", Digits(Path(data) / "mnist"), options.rows)
    with tempfile.TemporaryDirectory() as outputs:
        seconds = statistics.median(
            measure_seconds_to_end(images, Path(outputs, str(n)), options.rows) for n in range(options.repeats)
        )
    met = seconds < TARGET_SECONDS
    print("| | target | measured | verdict |\n|---|---|---|---|")
    name = f"from SIGTERM to the end, while scoring, median of {options.repeats}"
    print(f"| {name} | under {TARGET_SECONDS:g} s | {seconds:.2f} s | {'met' if met else 'missed'} |")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
