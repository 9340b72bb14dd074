"""Every error this program expects, and the exit code each one ends a run with.

An error's text is one line that says what must hold, what was found (with the file and row), and what to do.
It knows nothing of how that line is shown: `cli.py` has the only handler.
A bad *record* is not an error but a row among the rejects (`records.Reject`).
"""

from typing import ClassVar


class MnistBatchError(Exception):
    """The root; `exit_code` follows sysexits.h where that has a fitting code."""

    exit_code: ClassVar[int] = 70

    def __str__(self) -> str:
        # Names of files and of what is in them may hold the end of a line.
        return " ".join(super().__str__().splitlines())


class UsageError(MnistBatchError):
    """Options that contradict each other or name nothing that exists."""

    exit_code = 2


class InputError(MnistBatchError):
    """An input that is not readable as what it is, or labels that are no digits."""

    exit_code = 65


class InputMissingError(MnistBatchError):
    """No such input, or no image in it."""

    exit_code = 66


class EmptyInputError(InputMissingError):
    """The input is there, but holds no image."""


class SkippedRun(MnistBatchError):
    """Nothing to do, and told to take that for no failure; Airflow takes 99 for *skipped*."""

    exit_code = 99


class OutputError(MnistBatchError):
    """The output folder belongs to something else, or cannot be written."""

    exit_code = 73


class StorageError(MnistBatchError):
    """Reading or writing failed for a reason outside of this program; starting again may help."""

    exit_code = 74


class LockedError(MnistBatchError):
    """Another run holds the output folder's lock."""

    exit_code = 75


class ModelError(MnistBatchError):
    """The model cannot be used for digits."""

    exit_code = 78


class InterruptedRun(MnistBatchError):
    """A signal asked the program to stop. outcome: what became of its work, and what to do."""

    def __init__(self, signal_number: int, outcome: str) -> None:
        super().__init__(f"interrupted, {outcome}")
        self.exit_code = 128 + signal_number  # type: ignore[misc]  # the one error whose code depends on its cause
