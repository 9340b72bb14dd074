import subprocess
from typing import Any

import pytest


class StartedProcess(subprocess.Popen[bytes]):
    """A subprocess that keeps its command line."""

    def __init__(self, command: list[str], **options: Any) -> None:
        super().__init__(command, **options)
        self.command = command


@pytest.fixture
def subprocesses(monkeypatch: pytest.MonkeyPatch) -> list[StartedProcess]:
    """The subprocesses that a test starts, in order."""
    started: list[StartedProcess] = []

    def start(command: list[str], **options: Any) -> StartedProcess:
        started.append(StartedProcess(command, **options))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", start)
    return started


@pytest.fixture
def refused_commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Lets no subprocess start, as if the system had none to spare. The commands that were refused, in order."""
    refused: list[list[str]] = []

    def refuse(command: list[str], **_: Any) -> None:
        refused.append(command)
        raise BlockingIOError

    monkeypatch.setattr(subprocess, "Popen", refuse)
    return refused
