"""Settings of the process, imports in the background, and subprocesses."""

import ctypes
import gc
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from mnist_batch.runtime import (
    import_in_background,
    keep_freed_memory,
    limit_blas_threads,
    pause_garbage_collection,
    release_freed_memory,
)


@pytest.mark.parametrize("enabled", [True, False])
def test_gc_pauses_and_is_restored(enabled: bool) -> None:
    enabled_before = gc.isenabled()
    (gc.enable if enabled else gc.disable)()
    frozen = gc.get_freeze_count()
    try:
        with suppress(KeyError), pause_garbage_collection() as resume:
            assert not gc.isenabled()
            resume()
            assert gc.isenabled() is enabled
            assert gc.get_freeze_count() > frozen
            raise KeyError
        assert gc.isenabled() is enabled
        assert gc.get_freeze_count() == 0
    finally:
        (gc.enable if enabled_before else gc.disable)()


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a module that can be imported and is not imported yet."""
    (tmp_path / "some_module.py").write_text("done = True\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield "some_module"
    sys.modules.pop("some_module", None)


def test_module_is_imported_in_a_long_block(module: str) -> None:
    with import_in_background(module, delay=0):
        while not getattr(sys.modules.get(module), "done", False):
            time.sleep(0.01)


def test_no_import_during_a_short_block(module: str) -> None:
    with import_in_background(module, delay=3600):
        pass
    assert module not in sys.modules


def test_background_import_error_is_ignored(capfd: pytest.CaptureFixture[str]) -> None:
    with import_in_background("no_such_module", delay=0):
        time.sleep(0.1)
    assert capfd.readouterr().err == ""


def test_memory_settings_work_without_glibc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace())
    keep_freed_memory()
    release_freed_memory()


@pytest.mark.parametrize(("before", "after"), [("3", "3"), (None, "1")])
def test_environment_sets_blas_threads(monkeypatch: pytest.MonkeyPatch, before: str | None, after: str) -> None:
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", before or "")  # also restores the variable after the test
    if before is None:
        monkeypatch.delenv("OPENBLAS_NUM_THREADS")
    limit_blas_threads()
    assert os.environ["OPENBLAS_NUM_THREADS"] == after


PARENT = """
import signal, sys
from mnist_batch.runtime import module_command, read_output
sys.path.insert(0, sys.argv[1])
signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
read_output(module_command("child", sys.argv[2]))
"""
CHILD = """
import os, time
def main(path):
    with open(path, "w") as file:
        file.write(str(os.getpid()))
    time.sleep(60)
"""


def test_subprocess_ends_with_its_parent(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    (tmp_path / "child.py").write_text(CHILD)
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path), str(pid_file)])
    while not pid_file.exists() or not pid_file.read_text():
        assert parent.poll() is None
        time.sleep(0.01)
    parent.terminate()
    assert parent.wait() == 3
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)
