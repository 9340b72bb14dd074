"""The console script. Blocks the signals before the program is imported, so that one that comes early is not lost."""

from __future__ import annotations

from mnist_batch.cli.interrupts import block_signals


def run(*command: str) -> None:
    """Runs `mnist-batch`. `command` is put before the arguments of the process. Does not return."""
    block_signals()
    # Imported here because it takes longer than a person needs to press Ctrl-C, which would end in a traceback.
    from mnist_batch.cli.app import run as run_app

    run_app(*command)
