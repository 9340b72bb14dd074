"""Fixtures for all tests."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest
from hypothesis import settings

from mnist_batch.cli.app import main

PROJECT = Path(__file__).parent.parent

# No deadline: a busy machine must not fail a test. CI runs the same examples each time.
settings.register_profile("project", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("project")


@pytest.fixture(scope="session")
def sample_data() -> Path:
    """The folder of drawn digits, in every input format."""
    return PROJECT / "sample_data"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with mnist/ and semeion/. Skips the test if it is not set."""
    folder = os.environ.get("MNIST_BATCH_DATA")
    if not folder:
        pytest.skip("needs real MNIST: set MNIST_BATCH_DATA to the folder that holds mnist/ and semeion/")
    return Path(folder).resolve()


@pytest.fixture
def left_in() -> Callable[[Path], set[str]]:
    """Returns the names in an output folder, without the lock file, which is never deleted."""
    return lambda folder: {path.name for path in folder.iterdir()} - {".lock"} if folder.exists() else set()


@dataclass(frozen=True)
class Run:
    """Exit code and output of one command."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.stdout.splitlines()[-1])


class Cli(Protocol):
    """Runs one command and returns its exit code and output."""

    def __call__(self, *arguments: object) -> Run: ...


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    """Runs `mnist-batch` in this process, so that TensorFlow is imported once for all tests."""

    def run(*arguments: object) -> Run:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return Run(code, out, err)

    return run
