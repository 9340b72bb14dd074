"""What is done to the process itself, so that it starts, runs and ends without needless work."""

from __future__ import annotations

import ctypes
import fcntl
import gc
import importlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, NoReturn

# From glibc's malloc.h: how much more than was asked for is taken from the system, and how much stays when memory is
# given back.
_M_TOP_PAD = -2
_KEPT_BYTES = 1 << 28


_SET_PIPE_SIZE: int = getattr(fcntl, "F_SETPIPE_SZ", 0)
_PIPE_BYTES = 1 << 20


def limit_blas_threads() -> None:
    """Settles how NumPy works, where the environment does not; call it before that is imported.

    Sums over a batch need no threads of OpenBLAS's, and each of those begins by waiting in a loop.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def keep_freed_memory() -> None:
    """Has malloc keep up to 256 MB of what is freed, where it is glibc's; it is given out again before more is taken.

    For a program of ours only. TensorFlow has malloc give freed memory back to the system at once; then each batch's
    arrays, some 40 MB, come anew as pages that the kernel must first clear: a fifth of a run (docs/performance.md).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TOP_PAD, _KEPT_BYTES)


def shorten_switch_interval() -> None:
    """Has threads pass the interpreter's lock on after 0.5 milliseconds, not 5. For a program of ours only.

    Each step of NumPy gives the lock up, and waited that long for it where another thread runs Python alone.
    """
    sys.setswitchinterval(0.0005)


def release_freed_memory() -> None:
    """Has malloc give back to the system what is free now, wherever it lies, where it is glibc's."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def has_spare_core() -> bool:
    """Whether a small Python process beside this one would have a core of its own, as far as the system tells."""
    return bool(sys.executable) and hasattr(os, "sched_getaffinity") and len(os.sched_getaffinity(0)) > 1


def script_command(script: str, folder: bytes) -> list[str]:
    """The command line of a process that runs a script, which needs nothing but Python, with a folder."""
    return [sys.executable, "-I", "-S", script, os.fsdecode(folder)]


def module_command(module: str, argument: str) -> list[str]:
    """The command line of a process that runs the `main` of a module, found where this process would find it."""
    positions = [*sys.path, str(Path(__file__).parents[1])]
    start = f"import sys; sys.path[:] = {positions!r}; from {module} import main; main(sys.argv[1])"
    return [sys.executable, "-I", "-S", "-c", start, argument]


def read_output(command: Sequence[str]) -> bytes | None:
    """What a process writes to stdout; None where it fails, or the system has none to spare.

    It has a session of its own: whoever interrupts a run interrupts us, and we end it.
    """
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
        )
    except OSError:
        return None
    assert process.stdout is not None
    with process:
        try:
            with suppress(OSError):  # it is only slower so
                widen_pipe(process.stdout)
            printed = process.stdout.read()
        except BaseException:
            process.kill()
            raise
    return None if process.returncode else printed


def widen_pipe(pipe: IO[bytes]) -> int:
    """Gives a pipe as much room as Linux lets anybody have, and returns how much that is: 0 on other systems.

    Raises OSError where the user's pipes have too much already.
    """
    return fcntl.fcntl(pipe, _SET_PIPE_SIZE, _PIPE_BYTES) if _SET_PIPE_SIZE else 0


@contextmanager
def pause_garbage_collection() -> Iterator[Callable[[], None]]:
    """No search for garbage until what is yielded is called; from then on none among what was there by that time.

    Of what an import makes nothing is garbage, and TensorFlow's million objects take 0.2 seconds to go through.
    """
    enabled = gc.isenabled()
    gc.disable()

    def resume() -> None:
        gc.freeze()
        if enabled:
            gc.enable()

    try:
        yield resume
    finally:
        gc.unfreeze()
        if enabled:
            gc.enable()


@contextmanager
def import_in_background(module: str, after: float) -> Iterator[None]:
    """Imports a module in a thread of its own, once the block has been running for `after` seconds.

    Whoever imports it afterwards waits for that, and meets its errors.
    """

    def load() -> None:
        with suppress(Exception):
            importlib.import_module(module)

    timer = threading.Timer(after, load)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def exit_now(code: int) -> NoReturn:
    """Ends the process at once, with all that was printed written out.

    What the interpreter and TensorFlow would still take down, for most of a second, is the process's own memory.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(code)
