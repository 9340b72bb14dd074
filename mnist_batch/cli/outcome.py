"""How a command's end is told: a line on stderr, the result on stdout, and the files that schedulers collect.

It is told once: by the command itself, or by the thread that waits for signals where the command hangs.
"""

from __future__ import annotations

import os
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnist_batch.cli import console
from mnist_batch.cli.interrupts import Interrupts
from mnist_batch.cli.log import Log
from mnist_batch.config import LogFormat
from mnist_batch.errors import InterruptedRun, LockedError, MnistBatchError, OutputError, SkippedRun, StorageError
from mnist_batch.names import printable

if TYPE_CHECKING:
    from mnist_batch.run.result import Result

# Ends that are no failure to whoever starts the job every minute or every day.
_EXPECTED = (LockedError.exit_code, SkippedRun.exit_code)


@dataclass(frozen=True, slots=True)
class OutcomeOptions:
    """What a command line says of how its end is to be told, as far as it can be understood: perhaps it was refused."""

    output: str | None = None
    json: bool = False
    quiet: bool = False
    log_format: LogFormat = LogFormat.TEXT
    summary_file: Path | None = None
    metrics_file: Path | None = None


class OutcomeReporter:
    """The end of one command, and where signals that end it early are looked for (`check_interrupted`)."""

    def __init__(self, options: OutcomeOptions, outcome: str = "") -> None:
        """outcome: as in `InterruptedRun`."""
        self._options = options
        # Held on to: `quiet` puts others in their place.
        self._stdout = sys.stdout
        self.log = Log(sys.stderr, options.log_format)
        self._turn = threading.RLock()
        self._interrupts = Interrupts(self._report_interrupt, outcome)

    def start(self) -> None:
        """Begins to wait for signals. To be called in the main thread, before TensorFlow is imported."""
        self._interrupts.start()

    def check_interrupted(self) -> None:
        """Raises InterruptedRun once a signal has come."""
        self._interrupts.check_interrupted()

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """With `--quiet`, whatever Python's libraries print meanwhile goes nowhere."""
        with ExitStack() as stack:
            if self._options.quiet:
                nowhere = stack.enter_context(Path(os.devnull).open("w"))
                stack.enter_context(redirect_stdout(nowhere))
                stack.enter_context(redirect_stderr(nowhere))
            yield

    def check_files(self) -> None:
        """Raises OutputError where a file that is to tell of the end could not be written: better before the run."""
        for path in filter(None, (self._options.summary_file, self._options.metrics_file)):
            if path.is_dir() or not path.parent.is_dir():
                raise OutputError(f"{path}: must be a file in a folder that exists: make the folder, or name another")

    def report_result(self, result: Result) -> None:
        """Tells of a run that came to its end. Raises StorageError where that is not possible."""
        self._claim()
        if not self._options.quiet:
            for warning in result.warnings:
                self.log.warning(warning)
        if (line := console.format_failed_gates(result)) is not None:
            self.log.error(line)
        said = console.build_run_object(result)
        self._write_files(said, result)
        if self._options.json:
            self.print_json(said)
        elif not self._options.quiet:
            self.print(console.format_summary(result))

    def report_error(self, line: str, exit_code: int) -> int:
        """Tells of an error, and returns the exit code."""
        self._claim()
        return self._report(line, exit_code)

    def report_bug(self, error: Exception) -> int:
        """Tells of what nobody expected, with its traceback; of that, in one line, the place where it happened."""
        self._claim()
        line = f"a bug in this program, please report it: {error!r}"
        if not self._options.quiet:
            return self._report(line, 70, "".join(traceback.format_exception(error)))
        position = traceback.extract_tb(error.__traceback__)[-1]
        return self._report(
            f"{line} at {position.filename}:{position.lineno}; without --quiet there is a traceback", 70
        )

    def print(self, text: str) -> None:
        """Prints a result. Raises StorageError where stdout cannot take it, be it a full disk or a closed pipe."""
        try:
            print(printable(text), file=self._stdout, flush=True)
        except OSError as error:
            raise StorageError(
                f"stdout: must take the result, but: {error.strerror}; the run itself is done"
            ) from error

    def print_json(self, content: Any) -> None:
        """As `print`, in ASCII, which stdout takes in every locale."""
        self.print(_to_compact_json(content))

    def _claim(self) -> None:
        if not self._turn.acquire(blocking=False):
            threading.Event().wait()  # the other thread is telling, and ends the process

    def _report_interrupt(self, error: InterruptedRun) -> None:
        """For the thread that ends the process: nothing, where the command has begun to tell of another end."""
        if self._turn.acquire(blocking=False):
            self._report(str(error), error.exit_code)
            console.discard_output()

    def _report(self, line: str, exit_code: int, trace: str = "") -> int:
        line = printable(" ".join(line.splitlines()))
        said = console.build_error_object(line, exit_code, self._options.output)
        try:
            self._write_files(said, None)
        except MnistBatchError as error:
            line = f"{line}; and {error}"
        if not (self._options.quiet and exit_code in _EXPECTED):
            self.log.error(line, trace)
        if self._options.json:
            with suppress(OSError):  # the exit code still tells
                print(_to_compact_json(said), file=self._stdout, flush=True)
        return exit_code

    def _write_files(self, said: dict[str, Any], result: Result | None) -> None:
        """The summary and the metrics, each whole or not at all. Raises StorageError."""
        # A start that another run kept out has nothing to report: the other one will.
        if self._options.metrics_file is not None and said["exit_code"] != LockedError.exit_code:
            from mnist_batch.cli.metrics import write_metrics

            write_metrics(self._options.metrics_file, said, {} if result is None else result.report["timings"])
        if self._options.summary_file is not None:
            from mnist_batch.output.files import storage_errors, write_text

            path = self._options.summary_file
            own = path.with_name(f".{path.name}.{os.getpid()}")  # cron's next start may write it at the same time
            write_text(own, _to_compact_json(said) + "\n")
            with storage_errors(path):
                own.rename(path)


def _to_compact_json(content: Any) -> str:
    return dumps(content, separators=(",", ":"))
