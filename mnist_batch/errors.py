"""The errors this program expects, each with its exit code.

The text of an error is one line: what must hold, what was found (with the file and row), and what to do.
`cli/app.py` has the only handler. A bad *record* is not an error but a reject (`records.Reject`).
"""

from __future__ import annotations

from typing import ClassVar


class MnistBatchError(Exception):
    """Base class. `exit_code` follows sysexits.h if that has a matching code."""

    exit_code: ClassVar[int] = 70

    def __str__(self) -> str:
        # File names and file contents may contain line breaks.
        return " ".join(super().__str__().splitlines())


class UsageError(MnistBatchError):
    """Options contradict each other, or refer to something that does not exist."""

    exit_code = 2


class InputError(MnistBatchError):
    """An input cannot be read as its format, or its labels are not digits."""

    exit_code = 65


class InputMissingError(MnistBatchError):
    """There is no such input, or no image in it."""

    exit_code = 66


class EmptyInputError(InputMissingError):
    """The input exists but holds no image."""


class SkippedRun(MnistBatchError):
    """There was nothing to do, and `--on-empty skip` says that this is not a failure. Airflow takes 99 as *skipped*."""

    exit_code = 99


class OutputError(MnistBatchError):
    """The output folder belongs to something else, or cannot be written."""

    exit_code = 73


class StorageError(MnistBatchError):
    """Reading or writing failed for a reason outside this program. Starting again may help."""

    exit_code = 74


class LockedError(MnistBatchError):
    """Another run holds the lock of the output folder."""

    exit_code = 75


class ModelError(MnistBatchError):
    """The model cannot be used for digits."""

    exit_code = 78


class ScoringError(MnistBatchError):
    """Scoring cannot go on with this model or on this worker. Finished shards are kept, other than for `ModelError`."""

    exit_code = 78


class InterruptedRun(MnistBatchError):
    """A signal stopped the program. outcome: what happened to the work, and what to do."""

    def __init__(self, signal_number: int, outcome: str) -> None:
        super().__init__(f"interrupted, {outcome}")
        self._arguments = signal_number, outcome
        self.exit_code = 128 + signal_number  # type: ignore[misc]  # the only error whose code depends on its cause

    def __reduce__(self) -> tuple[type[InterruptedRun], tuple[int, str], dict[str, object]]:
        return type(self), self._arguments, self.__dict__
