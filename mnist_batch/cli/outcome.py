"""How the outcome of a command is reported: a line on stderr, the result on stdout, and files for schedulers.

It is reported once: by the command itself, or, if the command hangs, by the thread that waits for signals.
"""

from __future__ import annotations

import os
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import asdict, dataclass
from json import dumps, loads
from pathlib import Path
from typing import TYPE_CHECKING

from mnist_batch.cli import console
from mnist_batch.cli.interrupts import Interrupts
from mnist_batch.cli.log import Log
from mnist_batch.cli.side_files import FileKind, check_side_file, write_side_file
from mnist_batch.config import LogFormat
from mnist_batch.errors import InterruptedRun, LockedError, MnistBatchError, SkippedRun, StorageError
from mnist_batch.names import printable
from mnist_batch.runtime import quote_native_output

if TYPE_CHECKING:
    from mnist_batch.run.result import Result

# Not failures to someone who starts the job every minute or every day.
_EXPECTED = (LockedError.exit_code, SkippedRun.exit_code)


@dataclass(frozen=True, slots=True)
class OutcomeOptions:
    """The options that say how the outcome is reported. Parsed leniently: the command line may be invalid."""

    output: str | None = None
    json: bool = False
    quiet: bool = False
    log_format: LogFormat = LogFormat.TEXT
    summary_file: Path | None = None
    metrics_file: Path | None = None


class OutcomeReporter:
    """Reports the outcome of one command, and tells it when a signal asks it to stop."""

    def __init__(self, options: OutcomeOptions, outcome: str = "") -> None:
        """outcome: as in `InterruptedRun`."""
        self._options = options
        # Kept, because `quiet` replaces `sys.stdout`.
        self._stdout = sys.stdout
        self._on_terminal = sys.stdout.isatty()
        self.log = Log(sys.stderr, options.log_format)
        self._claimed = threading.RLock()
        self._interrupts = Interrupts(self._report_interrupt, outcome)

    def start(self) -> None:
        """Starts to wait for signals. Call it in the main thread, before TensorFlow is imported."""
        self._interrupts.start()

    def check_interrupted(self) -> None:
        """Raises InterruptedRun if a signal has arrived."""
        self._interrupts.check_interrupted()

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """With `--quiet`, discards what Python libraries print inside the block."""
        with ExitStack() as stack:
            if self._options.quiet:
                null = stack.enter_context(Path(os.devnull).open("w"))
                stack.enter_context(redirect_stdout(null))
                stack.enter_context(redirect_stderr(null))
            yield

    def check_files(self) -> None:
        """Raises OutputError if the summary or metrics file could not be written. Called before the run."""
        for path, kind in ((self._options.summary_file, _SUMMARY), (self._options.metrics_file, _METRICS)):
            if path is not None:
                check_side_file(path, kind, self._output)

    @property
    def _output(self) -> Path | None:
        return None if self._options.output is None else Path(self._options.output)

    def report_result(self, result: Result) -> None:
        """Reports a run that finished. Raises StorageError if that fails."""
        self._claim()
        if not self._options.quiet:
            for warning in result.warnings:
                self.log.warning(warning)
        if (line := console.format_failed_gates(result)) is not None:
            self.log.error(line)
        summary = console.summarize_result(result)
        self._write_files(summary, result)
        if self._options.json:
            self.print_json(asdict(summary))
        elif not self._options.quiet:
            self.print(console.format_summary(result))

    def report_error(self, line: str, exit_code: int) -> int:
        """Reports an error and returns the exit code."""
        self._claim()
        return self._report(line, exit_code)

    def report_bug(self, error: Exception) -> int:
        """Reports an unexpected exception: with its traceback, or with --quiet in one line that names the place."""
        self._claim()
        line = f"a bug in this program, please report it: {error!r}"
        if not self._options.quiet:
            output = quote_native_output()
            trace = f"last output of native libraries:\n{output}\n" if output else ""
            return self._report(line, 70, trace + "".join(traceback.format_exception(error)))
        frame = traceback.extract_tb(error.__traceback__)[-1]
        return self._report(f"{line} at {frame.filename}:{frame.lineno}; without --quiet there is a traceback", 70)

    def print(self, text: str) -> None:
        """Prints a result. Raises StorageError if stdout cannot take it, because of a full disk or a closed pipe.

        A terminal may be closed during the run.
        """
        try:
            print(printable(text), file=self._stdout, flush=True)
        except OSError as error:
            if self._on_terminal:
                return
            raise StorageError(
                f"stdout: must take the result, but: {error.strerror}; the run itself is done"
            ) from error

    def print_json(self, content: object) -> None:
        """Prints a result as compact JSON, in ASCII, which every locale can write. Raises as `print` does."""
        self.print(_to_compact_json(content))

    def _claim(self) -> None:
        """Claims the right to report. If the other thread has it, blocks until that thread ends the process."""
        if not self._claimed.acquire(blocking=False):
            threading.Event().wait()

    def _report_interrupt(self, error: InterruptedRun) -> None:
        """Called by the thread that ends the process. Does nothing if the command has begun to report."""
        if self._claimed.acquire(blocking=False):
            self._report(str(error), error.exit_code)
            console.discard_output()

    def _report(self, line: str, exit_code: int, trace: str = "") -> int:
        line = printable(" ".join(line.splitlines()))
        summary = console.summarize_error(line, exit_code, self._options.output)
        try:
            self._write_files(summary, None)
        except MnistBatchError as error:
            line = f"{line}; and {error}"
        if not (self._options.quiet and exit_code in _EXPECTED):
            self.log.error(line, trace)
        if self._options.json:
            with suppress(OSError):  # the exit code still reports the outcome
                print(_to_compact_json(asdict(summary)), file=self._stdout, flush=True)
        return exit_code

    def _write_files(self, summary: console.RunSummary, result: Result | None) -> None:
        """Writes the summary and metrics files, each completely or not at all. Raises StorageError."""
        # A start that found the folder locked reports nothing: the run that holds the lock will.
        if (path := self._options.metrics_file) is not None and summary.exit_code != LockedError.exit_code:
            from mnist_batch.cli.metrics import format_metrics

            metrics = format_metrics(path, summary, None if result is None else result.report.timings)
            write_side_file(path, _METRICS, metrics, self._output)
        if (path := self._options.summary_file) is not None:
            write_side_file(path, _SUMMARY, f"{_to_compact_json(asdict(summary))}\n".encode(), self._output)


def _is_summary(content: bytes) -> bool:
    with suppress(ValueError, RecursionError):
        values = loads(content)
        return isinstance(values, dict) and {"status", "exit_code"} <= values.keys()
    return False


_SUMMARY = FileKind("--summary-file", "an earlier summary", _is_summary)
_METRICS = FileKind("--metrics-file", "earlier metrics", lambda content: b"mnist_batch_last_run_" in content)


def _to_compact_json(content: object) -> str:
    return dumps(content, separators=(",", ":"))
