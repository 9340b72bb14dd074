"""What `--help`, `--version` and a shell's completion say."""

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

GOLDENS = Path(__file__).parent / "goldens"
COMMANDS = ["", "predict", "inspect", "train", "models"]


def program(*arguments, **variables):
    """What the program prints, 100 columns wide and nowhere near a terminal."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MNIST_BATCH", "GITHUB"))}
    run = subprocess.run(
        [Path(sys.executable).with_name("mnist-batch"), *arguments],
        env=kept | {"TERMINAL_WIDTH": "100"} | variables,
        capture_output=True, text=True, encoding="utf-8", check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_is_the_golden_one(command):
    """After a change: `make goldens`."""
    path = GOLDENS / f"help_{command or 'all'}.txt"
    said = "\n".join(line.rstrip() for line in program(*filter(None, [command]), "--help").splitlines()) + "\n"
    if "MNIST_BATCH_GOLDENS" in os.environ:
        path.parent.mkdir(exist_ok=True)
        path.write_text(said, encoding="utf-8")
    assert said == path.read_text(encoding="utf-8")


def test_help_is_shown_where_the_environment_asks_for_quiet():
    assert "--quiet" in program("predict", "--help", MNIST_BATCH_PREDICT_QUIET="1")


def test_version():
    assert program("--version") == f"mnist-batch {version('mnist-batch')}\n"


@pytest.mark.parametrize(
    ("typed", "offered"),
    [("pre", ["predict"]), ("predict --on", ["--on-empty"]), ("predict --on-empty ", ["fail", "skip"])],
)
def test_a_shell_completes_commands_options_and_values(typed, offered):
    words = f"mnist-batch {typed}"
    variables = {"_MNIST_BATCH_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    assert program(**variables).split() == offered


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_no_color_is_honoured(no_color, coloured):
    help_ = program("--help", NO_COLOR=no_color, FORCE_COLOR="1", TERM="xterm-256color")
    assert ("\x1b[1;33m" in help_) == coloured
    assert ("\x1b[1;36m" in help_) == coloured
