"""Output of `--help`, `--version` and shell completion."""

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

GOLDENS = Path(__file__).parent / "goldens"
COMMANDS = ["", "predict", "inspect", "train", "report", "models"]


def program(*arguments: str, **variables: str) -> str:
    """What the program prints, 100 columns wide and not to a terminal. variables: added to the environment."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MNIST_BATCH", "GITHUB"))}
    run = subprocess.run(
        [Path(sys.executable).with_name("mnist-batch"), *arguments],
        env=environment | {"TERMINAL_WIDTH": "100"} | variables,
        capture_output=True, text=True, encoding="utf-8", check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_help_equals_its_golden_file(command: str) -> None:
    """After a change, run `make goldens`."""
    path = GOLDENS / f"help_{command or 'all'}.txt"
    text = "\n".join(line.rstrip() for line in program(*filter(None, [command]), "--help").splitlines()) + "\n"
    if "MNIST_BATCH_GOLDENS" in os.environ:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


def test_quiet_in_the_environment_keeps_help() -> None:
    assert "--quiet" in program("predict", "--help", MNIST_BATCH_PREDICT_QUIET="1")


def test_version_is_printed() -> None:
    assert program("--version") == f"mnist-batch {version('mnist-batch')}\n"


@pytest.mark.parametrize(
    ("typed", "offered"),
    [("pre", ["predict"]), ("predict --on", ["--on-empty"]), ("predict --on-empty ", ["fail", "skip"])],
)
def test_shell_completion(typed: str, offered: list[str]) -> None:
    words = f"mnist-batch {typed}"
    variables = {"_MNIST_BATCH_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    assert program(**variables).split() == offered


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_no_color_is_honoured(no_color: str, coloured: bool) -> None:
    help_ = program("--help", NO_COLOR=no_color, FORCE_COLOR="1", TERM="xterm-256color")
    assert ("\x1b[1;33m" in help_) == coloured
    assert ("\x1b[1;36m" in help_) == coloured
