"""Settings of the process itself (memory, threads, garbage collection) and small subprocesses."""

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

# From glibc's malloc.h: the extra bytes that malloc takes from the system, and keeps when memory is freed.
_M_TOP_PAD = -2
_KEPT_BYTES = 1 << 28


_SET_PIPE_SIZE: int = getattr(fcntl, "F_SETPIPE_SZ", 0)
# The largest pipe buffer that Linux allows every user by default.
PIPE_BYTES = 1 << 20


def limit_blas_threads() -> None:
    """Limits OpenBLAS to one thread, unless the environment says otherwise. Call it before NumPy is imported.

    NumPy only sums over batches here, which needs no threads, and idle OpenBLAS threads spin.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def keep_freed_memory() -> None:
    """Makes glibc's malloc keep up to 256 MB of freed memory for reuse. For our own program only.

    TensorFlow sets malloc to return freed memory at once. The arrays of each batch, about 40 MB, then come as new pages
    that the kernel must clear first: a fifth of a run (docs/performance.md).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TOP_PAD, _KEPT_BYTES)


def shorten_switch_interval() -> None:
    """Makes threads release the interpreter lock after 0.5 ms instead of 5 ms. For our own program only.

    NumPy releases the lock in each operation, then waits for it that long while another thread runs pure Python.
    """
    sys.setswitchinterval(0.0005)


def release_freed_memory() -> None:
    """Makes glibc's malloc return all freed memory to the system."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def has_spare_core() -> bool:
    """Whether a small Python subprocess would have a core of its own."""
    return bool(sys.executable) and hasattr(os, "sched_getaffinity") and len(os.sched_getaffinity(0)) > 1


def script_command(script: str, folder: bytes) -> list[str]:
    """The command line that runs a script with a folder as argument. The script may only use the standard library."""
    return [sys.executable, "-I", "-S", script, os.fsdecode(folder)]


def module_command(module: str, argument: str) -> list[str]:
    """The command line that runs `main(argument)` of a module, with this process's import path."""
    path = [*sys.path, str(Path(__file__).parents[1])]
    start = f"import sys; sys.path[:] = {path!r}; from {module} import main; main(sys.argv[1])"
    return [sys.executable, "-I", "-S", "-c", start, argument]


def read_output(command: Sequence[str]) -> bytes | None:
    """Runs a command and returns its stdout; None if it fails or cannot be started.

    It runs in a session of its own, so a terminal's interrupt reaches only this process, which then kills it.
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
            with suppress(OSError):  # a small pipe is only slower
                widen_pipe(process.stdout)
            output = process.stdout.read()
        except BaseException:
            process.kill()
            raise
    return None if process.returncode else output


def widen_pipe(pipe: IO[bytes], size: int = PIPE_BYTES) -> int:
    """Sets the buffer size of a pipe, by default to the 1 MB that Linux allows every user. Returns the size.

    Returns 0 on systems without that call. Raises OSError if the user's pipes exceed their limit.
    """
    return fcntl.fcntl(pipe, _SET_PIPE_SIZE, size) if _SET_PIPE_SIZE else 0


@contextmanager
def pause_garbage_collection() -> Iterator[Callable[[], None]]:
    """Disables garbage collection until the yielded function is called; then freezes existing objects.

    Imports create no garbage, and going through TensorFlow's million objects takes 0.2 seconds.
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
def import_in_background(module: str, delay: float) -> Iterator[None]:
    """Imports a module in a thread, if the block is still running after `delay` seconds.

    An import error is ignored here: a later import raises it again.
    """

    def load() -> None:
        with suppress(Exception):
            importlib.import_module(module)

    timer = threading.Timer(delay, load)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def exit_now(code: int) -> NoReturn:
    """Flushes stdout and stderr and ends the process at once.

    A normal exit spends most of a second on freeing memory of the interpreter and TensorFlow.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(code)
