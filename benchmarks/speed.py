"""The speed of runs, compared with the ceiling of the model, a bare script and other tools; and their memory.

    MNIST_BATCH_DATA=... python benchmarks/speed.py [--rows 600000] [--rounds 3] [--folder build/bench] [--ray PYTHON]

Prints the Markdown table of docs/performance.md and writes its figures to benchmarks/results.json. Each figure is
measured on whole, fresh processes, over files that are in the page cache. The rate of a form is the difference between
a run of a tenth of the rows and a run of `--rows` more, or five times as many more if the rows are plain numbers: so
start-up does not count, and planning does. Each form is compared with the ceiling of the same round, and the median of
the rounds is printed. Nothing else should be running.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from inputs import Digits, make_input

HERE = Path(__file__).parent
MODEL = HERE.parent / "mnist_batch" / "model" / "bundled" / "seed"
# The share of the ceiling that each form should reach.
TARGETS = {
    "idx": 0.80,
    "npz": 0.80,
    "parquet raw": 0.80,
    "idx.gz": 0.70,
    "parquet png": 0.42,
    "zip": 0.42,
    "tar": 0.42,
    "folder": 0.38,
    "tar.gz": 0.32,
}
# Forms of plain numbers. Their rates are by far the highest, so they get more rows: otherwise two runs would differ by
# only a few seconds, and start-up varies by as much.
NUMBERS = {"idx", "npz", "parquet raw", "idx.gz"}
# Threads within a batch, batches at the same time, oneDNN.
CEILINGS = [(threads, 3 - threads, onednn) for threads in (2, 1) for onednn in ("1", "0")]
OURS = ("-m", "mnist_batch")
RSS_UNIT = 1 if sys.platform == "darwin" else 1024
MB = 1e6


@dataclass(frozen=True)
class Run:
    """A process from start to end.

    seconds: wall time.
    peak: the largest size of its resident set, in bytes.
    output: what it printed to stdout.
    """

    seconds: float
    peak: int
    output: str


@dataclass(frozen=True)
class Row:
    """A row of the table. met: whether `value` reaches the target; None if there is no target."""

    what: str
    target: str
    measured: str
    value: float
    met: bool | None = None


def run(*command: str | Path, python: str = sys.executable, cores: int | None = None, **environment: str) -> Run:
    """Runs Python with these arguments, on the first `cores` cores if given. Exits if the process fails."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        pinned = ["taskset", "-c", f"0-{cores - 1}"] if cores else []
        started = time.monotonic()
        process = subprocess.Popen(
            [*pinned, python, *map(str, command)],
            stdout=output,
            stderr=errors,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        for file in (output, errors):
            file.seek(0)
        if process.returncode != 0:
            sys.exit(f"{command}: must exit with 0, exited with {process.returncode}: {errors.read()[-2000:].decode()}")
        return Run(seconds, usage.ru_maxrss * RSS_UNIT, output.read().decode())


class Benchmark:
    """Measures the rows of the table. The inputs are kept in a folder."""

    def __init__(self, folder: Path, rows: int, rounds: int, ray: str | None) -> None:
        self.folder, self.rows, self.rounds, self.ray = folder, rows, rounds, ray
        # For forms with a file or member per image.
        self.many_files = rows // 3 * 5
        self.digits = Digits(Path(os.environ["MNIST_BATCH_DATA"]) / "mnist")
        self.rates: defaultdict[str, list[float]] = defaultdict(list)

    def make_cached_input(self, form: str, rows: int) -> Path:
        """The input of that form and size. Reads it once, so that it is in the page cache."""
        source = make_input(self.folder, form, self.digits, rows)
        for path in sorted(source.rglob("*.png")) if source.is_dir() else [source]:
            with path.open("rb") as file:
                while file.read(1 << 20):
                    pass
        return source

    def run_predict(
        self, form: str, rows: int, *options: str, cores: int | None = None, program: Sequence[str] = OURS
    ) -> Run:
        """Runs `predict` into an empty output folder, with default options except these."""
        output = self.folder / "out"
        shutil.rmtree(output, ignore_errors=True)
        source = self.make_cached_input(form, rows)
        return run(*program, "predict", source, "-o", output, "--quiet", *options, cores=cores)

    def measure_rate(self, form: str, *options: str, cores: int | None = None) -> float:
        """Rows per second, without start-up."""
        small, more = self.rows // 10, self.rows * (5 if form in NUMBERS else 1)
        before = self.run_predict(form, small, *options, cores=cores).seconds
        return more / (self.run_predict(form, small + more, *options, cores=cores).seconds - before)

    def measure_ceiling(self, *choices: tuple[int, int, str], cores: int | None = None) -> float:
        """The best rate of the model alone, in rows per second. choices: as in `CEILINGS`."""
        return max(
            float(
                run(
                    HERE / "ceiling.py",
                    *("--threads", str(threads), "--parallel", str(parallel), "--rows", str(self.rows)),
                    cores=cores,
                    TF_ENABLE_ONEDNN_OPTS=onednn,
                ).output
            )
            for threads, parallel, onednn in choices or CEILINGS
        )

    def forms(self) -> Iterator[Row]:
        """Each form, compared with the ceiling of the same round."""
        ceilings = []
        shares: defaultdict[str, list[float]] = defaultdict(list)
        for _ in range(self.rounds):
            ceilings.append(self.measure_ceiling())
            for form in TARGETS:
                self.rates[form].append(self.measure_rate(form))
                shares[form].append(self.rates[form][-1] / ceilings[-1])
        yield Row("ceiling: the model alone", "-", f"{statistics.median(ceilings):,.0f}/s", statistics.median(ceilings))
        for form, target in TARGETS.items():
            share, rate = statistics.median(shares[form]), statistics.median(self.rates[form])
            yield Row(form, f"{target:.2f} x ceiling", f"{share:.2f} x, {rate:,.0f}/s", share, share >= target)

    def start_up(self) -> Iterator[Row]:
        """Processes with little work; the first compared with the bare script."""
        images = make_input(self.folder, "idx", self.digits, 10_000)
        ratios = [
            self.run_predict("idx", 10_000).seconds / run(HERE / "bare.py", images).seconds
            for _ in range(self.rounds + 2)
        ]
        ratio = statistics.median(ratios)
        yield Row("10,000 from idx, to a bare script", "at most 1.20 x", f"{ratio:.2f} x", ratio, ratio <= 1.20)
        archive = make_input(self.folder, "zip", self.digits, self.rows // 10)
        for what, target, command in (
            ("--help", 0.3, ["--help"]),
            (f"inspect a zip of {self.rows // 10:,}", 1.0, ["inspect", archive]),
            ("a completed run again", 1.0, self.complete_run("idx", 10_000)),
            (
                f"a completed run of {self.many_files:,} files again",
                5e-6 * self.many_files,
                self.complete_run("folder", self.many_files),
            ),
        ):
            seconds = statistics.median(run(*OURS, *command).seconds for _ in range(self.rounds))
            yield Row(what, f"about {target:g} s", f"{seconds:.2f} s", seconds, seconds <= 1.25 * target)

    def complete_run(self, form: str, rows: int) -> list[str | Path]:
        """Completes a run and returns its command line."""
        output = self.folder / f"completed {form}"
        shutil.rmtree(output, ignore_errors=True)
        command: list[str | Path] = ["predict", self.make_cached_input(form, rows), "-o", output, "--quiet"]
        run(*OURS, *command)
        return command

    def growth(self) -> Iterator[Row]:
        """Memory, and time per row, for growing numbers of rows."""
        yield from self.measure_growth(
            {
                "idx": (self.rows // 10, self.rows, self.rows * 10),
                "parquet raw": (self.rows // 10, self.rows, self.rows * 10),
                "folder": (self.rows // 10, self.many_files),
                "zip": (self.rows // 10, self.many_files),
                "tar": (self.rows // 10, self.many_files),
            }
        )

    def measure_growth(self, forms: Mapping[str, Sequence[int]]) -> Iterator[Row]:
        """The memory of runs of these sizes, and the time per row if there are three sizes."""
        bare = run(HERE / "bare.py", make_input(self.folder, "idx", self.digits, 10_000)).peak
        yield Row("peak memory of the bare script", "-", f"{bare / MB:,.0f} MB", bare)
        for form, sizes in forms.items():
            runs = {rows: self.run_predict(form, rows) for rows in sizes}
            peaks = [process.peak for process in runs.values()]
            measured = " / ".join(f"{peak / MB:,.0f}" for peak in peaks)
            rows = " / ".join(f"{size:,}" for size in sizes)
            spread = max(peaks) - min(peaks)
            yield Row(f"peak memory, {form}, {rows}", "within 60 MB", f"{measured} MB", spread / MB, spread <= 60 * MB)
            over = (max(peaks) - bare) / MB
            yield Row(f"peak memory, {form}, over the bare script", "300 MB", f"{over:,.0f} MB", over, over <= 300)
            if len(sizes) == 3:
                small, middle, large = (runs[size].seconds for size in sizes)
                ratio = (large - middle) / (sizes[2] - sizes[1]) / ((middle - small) / (sizes[1] - sizes[0]))
                yield Row(
                    f"time per row, {form}, ten times the rows", "at most 1.10 x", f"{ratio:.2f} x", ratio, ratio <= 1.1
                )

    def output(self) -> Iterator[Row]:
        """The share of a run that it saves if it writes empty parts."""
        rows = self.rows * 5
        for form, target in (("parquet", 0.05), ("csv", 0.10)):
            shares = []
            for _ in range(self.rounds + 2):
                empty = self.run_predict("idx", rows, "--format", form, program=[str(HERE / "no_output.py")]).seconds
                shares.append(1 - empty / self.run_predict("idx", rows, "--format", form).seconds)
            share = statistics.median(shares)
            yield Row(f"writing {form}", f"at most {target:.0%} of the run", f"{share:.1%}", share, share <= target)

    def cores(self) -> Iterator[Row]:
        """Two cores compared with one, for a run and for the model alone."""
        one, two = (self.measure_rate("idx", cores=cores) for cores in (1, 2))
        alone = self.measure_ceiling((1, 1, "1"), cores=1)
        both = self.measure_ceiling((2, 1, "1"), (1, 2, "1"), cores=2)
        measured = f"{two / one:.2f} x; the model alone {both / alone:.2f} x"
        yield Row("idx, two cores to one", "at least 1.8 x", measured, two / one, two / one >= 1.8)

    def tables(self) -> Iterator[Row]:
        """CSV and npy: compared with the least that reading and scoring need, and with a script that uses pandas."""
        sizes = [self.rows // 10, self.rows // 10 + self.rows]
        rates: defaultdict[str, list[float]] = defaultdict(list)
        ratios: defaultdict[str, list[float]] = defaultdict(list)
        least: list[float] = []
        for _ in range(self.rounds):
            model = self.measure_ceiling()
            parse = float(run(HERE / "csv_matrix.py", self.make_cached_input("csv", sizes[1])).output)
            least.append(1 / (1 / parse + 1 / model))
            for form in ("csv", "csv.gz", "npy"):
                rate = self.measure_rate(form)
                rates[form].append(rate)
                ratios[form].append(rate / (least[-1] if form == "csv" else model))
        yield Row("csv: pyarrow's parser, then the model", "-", f"{statistics.median(least):,.0f}/s", 0.0)
        for form, target in (("csv", 0.80), ("csv.gz", None), ("npy", None)):
            ratio, rate = statistics.median(ratios[form]), statistics.median(rates[form])
            share = "of these" if form == "csv" else "x ceiling"
            goal = "-" if target is None else f"{target:.2f} {share}"
            yield Row(
                form, goal, f"{ratio:.2f} {share}, {rate:,.0f}/s", ratio, None if target is None else ratio >= target
            )
            times = []
            for size in sizes:
                source = self.make_cached_input(form, size)
                script = HERE / "peers" / "pandas_script.py"
                times.append(run(script, source, MODEL, self.folder / "pandas.csv").seconds)
            peer = rate / (self.rows / (times[1] - times[0]))
            yield Row(f"{form}, to a script with pandas", "-", f"{peer:.1f} x", peer)
        yield from self.measure_growth(dict.fromkeys(rates, (sizes[0], self.rows, self.rows * 10)))

    def peers(self) -> Iterator[Row]:
        """Other tools on the same folder of PNGs."""
        ours = statistics.median(self.rates["folder"]) if self.rates["folder"] else self.measure_rate("folder")
        small, large = (
            make_input(self.folder, "folder", self.digits, n) for n in (self.rows // 10, self.rows // 10 + self.rows)
        )
        script = HERE / "peers" / "keras_script.py"
        times = [run(script, path, MODEL, self.folder / "keras.csv").seconds for path in (small, large)]
        ratio = ours / (self.rows / (times[1] - times[0]))
        yield Row("folder, to a Keras script", "at least 3 x", f"{ratio:.1f} x", ratio, ratio >= 3)
        if self.ray is not None:
            sizes = [self.rows // 10, self.rows // 5]
            times = []
            for size in sizes:
                source = make_input(self.folder, "folder", self.digits, size).resolve()
                target = self.folder / "ray"
                shutil.rmtree(target, ignore_errors=True)
                peer = HERE / "peers" / "ray_data.py"
                times.append(run(peer, source, MODEL, target.resolve(), python=self.ray).seconds)
            ratio = ours / ((sizes[1] - sizes[0]) / (times[1] - times[0]))
            yield Row("folder, to Ray Data", "at least 15 x", f"{ratio:.1f} x", ratio, ratio >= 15)


PARTS = ("forms", "start_up", "output", "cores", "growth", "tables", "peers")


def machine() -> dict[str, str]:
    """The machine and the versions that were measured."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    cpu = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor()
    )
    packages = ("tensorflow", "keras", "numpy", "pyarrow", "opencv-python-headless", "isal")
    versions = {package: importlib.metadata.version(package) for package in packages}
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    return {"date": today, "cpu": f"{cpu}, {os.cpu_count()} cores", "python": platform.python_version(), **versions}


def main(arguments: Sequence[str]) -> int:
    """Prints the table row by row. Returns 1 if a target is missed, but never with `--smoke`."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=600_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--folder", type=Path, default=Path("build/bench"), help="for the inputs, which are kept: 40 GB"
    )
    parser.add_argument("--ray", help="the Python of an environment with ray[data], tensorflow and keras")
    parser.add_argument("--only", choices=PARTS, nargs="+", default=PARTS)
    parser.add_argument(
        "--smoke", action="store_true", help="one round with few rows, to check that the benchmark runs"
    )
    options = parser.parse_args(arguments)
    if "MNIST_BATCH_DATA" not in os.environ:
        parser.error("MNIST_BATCH_DATA must name the folder that holds mnist/")
    rows, rounds = (2000, 1) if options.smoke else (options.rows, options.rounds)
    benchmark = Benchmark(options.folder, rows, rounds, options.ray)
    measured: list[Row] = []
    print("| | target | measured | |\n|---|---|---|---|", flush=True)
    for part in PARTS[:3] if options.smoke else options.only:
        for row in getattr(benchmark, part)():
            verdict = "" if row.met is None or options.smoke else "met" if row.met else "missed"
            print(f"| {row.what} | {row.target} | {row.measured} | {verdict} |", flush=True)
            measured.append(row)
    if options.smoke or set(options.only) != set(PARTS):
        return 0
    results = {"machine": machine(), "rows": rows, "rounds": rounds, "table": [asdict(row) for row in measured]}
    (HERE / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    return 1 if any(row.met is False for row in measured) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
