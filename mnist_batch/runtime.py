"""Settings of the process itself: memory, threads, garbage collection, native output.

`prepare` is for processes that belong to this program. Everything else here leaves a host's process as it was.
"""

from __future__ import annotations

import ctypes
import faulthandler
import gc
import importlib
import os
import re
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn, TextIO

# From glibc's malloc.h: the extra bytes that malloc takes from the system, and keeps when memory is freed.
_M_TOP_PAD = -2
_KEPT_BYTES = 1 << 28
_SWITCH_INTERVAL_SECONDS = 0.0005

# Defaults of the environment of our own processes. NumPy only sums over batches here, which needs no threads, and idle
# OpenBLAS threads spin. TensorFlow's messages below errors describe the machine.
_ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "2"}
# Variables that our own processes ignore. They would turn good images into rejects, or change how models are loaded.
# KERAS_HOME stays: it is where Keras keeps its copy of MNIST.
_IGNORED = re.compile(r"OPENCV_.*|KERAS_(?!HOME$).*")

# The file of native output is emptied when it is larger than this, and so much of its end is quoted.
_MAX_NATIVE_BYTES = 1 << 20
_QUOTED_BYTES = 2000

_prepared = False
# The file that native libraries write to, once `prepare` has redirected them.
_native_output: int | None = None


def prepare() -> None:
    """Sets up a process that belongs to this program: that of the command line, and that of each worker.

    Call it first, before NumPy is imported: it sets the environment's defaults, the memory allocator, the switch
    interval, and where native libraries write. Nothing is restored. A second call does nothing.
    """
    global _prepared  # noqa: PLW0603 - a fact about the process
    if _prepared:
        return
    _prepared = True
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for name in list(os.environ):
        if _IGNORED.fullmatch(name):
            del os.environ[name]
    _keep_freed_memory()
    _shorten_switch_interval()
    _redirect_native_output()


def is_prepared() -> bool:
    """Whether this process belongs to this program."""
    return _prepared


def _keep_freed_memory() -> None:
    """Makes glibc's malloc keep up to 256 MB of freed memory for reuse.

    TensorFlow sets malloc to return freed memory at once. The arrays of each batch, about 40 MB, then come as new pages
    that the kernel must clear first: a fifth of a run (docs/performance.md).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TOP_PAD, _KEPT_BYTES)


def _shorten_switch_interval() -> None:
    """Makes threads release the interpreter lock after 0.5 ms instead of 5 ms.

    NumPy releases the lock in each operation, then waits for it that long while another thread runs pure Python.
    """
    sys.setswitchinterval(_SWITCH_INTERVAL_SECONDS)


def _redirect_native_output() -> None:
    """Sends what C libraries write to file descriptors 1 and 2 to an unlinked file. Python's streams keep working.

    libpng and OpenCV print a message for every damaged image, which is a reject anyway, and TensorFlow prints
    messages about the machine. `quote_native_output` returns the end of the file. The trace of a crash in native code
    goes to the real stderr.
    """
    global _native_output  # noqa: PLW0603 - a fact about the process
    try:
        with tempfile.TemporaryFile(prefix="mnist-batch-") as file:
            # Without O_APPEND, writing would go on behind the end after the file was emptied.
            _native_output = target = os.open(f"/proc/self/fd/{file.fileno()}", os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
    except OSError:  # no room for a temporary file, or not Linux
        target = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    sys.stdout, sys.stderr = _redirect(sys.stdout, 1, target), _redirect(sys.stderr, 2, target)
    faulthandler.enable(sys.stderr)


def _redirect(stream: TextIO | None, number: int, target: int) -> TextIO:
    """Returns a new stream to where a file descriptor points, and points the descriptor at `target`."""
    # If the parent process closed the descriptor, none of our files must get its number.
    own = os.dup(target if stream is None else number)
    os.dup2(target, number)
    # A file name must not end a run because the locale cannot write it.
    encoding = "utf-8" if stream is None else stream.encoding
    return os.fdopen(own, "w", buffering=1, encoding=encoding, errors="backslashreplace")


def limit_native_output() -> None:
    """Empties the file of native output if it is large. Call it from time to time."""
    if _native_output is not None and os.fstat(_native_output).st_size > _MAX_NATIVE_BYTES:
        os.ftruncate(_native_output, 0)


def quote_native_output() -> str:
    """Returns the end of what native libraries have written; empty if they wrote nothing."""
    if _native_output is None:
        return ""
    start = max(0, os.fstat(_native_output).st_size - _QUOTED_BYTES)
    return os.pread(_native_output, _QUOTED_BYTES, start).decode(errors="backslashreplace").strip()


def release_freed_memory() -> None:
    """Makes glibc's malloc return all freed memory to the system."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


@contextmanager
def environment_during_import(**variables: str) -> Iterator[None]:
    """Sets environment variables while a library is imported.

    Afterwards the variables that were set before have the values that they had, even if the library changed them.
    """
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in variables.keys() - before.keys():
            os.environ.pop(name, None)
        os.environ.update(before)


@contextmanager
def pause_garbage_collection() -> Iterator[Callable[[], None]]:
    """Disables garbage collection until the yielded function is called, or until the block ends.

    Imports create no garbage, and going through TensorFlow's million objects takes 0.2 seconds. In a prepared process
    the function also freezes all objects, so that they are never gone through.
    """
    enabled = gc.isenabled()
    gc.disable()

    def resume() -> None:
        if _prepared:
            gc.freeze()
        if enabled:
            gc.enable()

    try:
        yield resume
    finally:
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
