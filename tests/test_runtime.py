import ctypes
import gc
import os
import subprocess
import sys
import time
from contextlib import suppress
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
def test_the_search_for_garbage_rests_until_told_and_is_left_as_it_was(enabled):
    was = gc.isenabled()
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
        (gc.enable if was else gc.disable)()


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "slow_to_import.py").write_text("done = True\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield "slow_to_import"
    sys.modules.pop("slow_to_import", None)


def test_a_module_is_imported_beside_what_takes_longer(module):
    with import_in_background(module, after=0):
        while not getattr(sys.modules.get(module), "done", False):
            time.sleep(0.01)


def test_a_module_is_not_imported_beside_what_is_quick(module):
    with import_in_background(module, after=3600):
        pass
    assert module not in sys.modules


def test_an_import_that_fails_is_left_to_who_needs_it(capfd):
    with import_in_background("no_such_module", after=0):
        time.sleep(0.1)
    assert capfd.readouterr().err == ""


def test_without_glibc_memory_is_left_as_it_is(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace())
    keep_freed_memory()
    release_freed_memory()


@pytest.mark.parametrize(("said", "settled"), [("3", "3"), (None, "1")])
def test_what_the_environment_says_of_libraries_stands(monkeypatch, said, settled):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "")  # so that it is put back
    if said is None:
        monkeypatch.delenv("OPENBLAS_NUM_THREADS")
    else:
        monkeypatch.setenv("OPENBLAS_NUM_THREADS", said)
    limit_blas_threads()
    assert os.environ["OPENBLAS_NUM_THREADS"] == settled


WAITING = """
import signal, sys
from mnist_batch.runtime import like_this_python, printed_by
sys.path.insert(0, sys.argv[1])
signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
printed_by(like_this_python("lasting", sys.argv[2]))
"""
LASTING = """
import os, time
def main(path):
    with open(path, "w") as file:
        file.write(str(os.getpid()))
    time.sleep(60)
"""


def test_a_process_is_ended_with_whoever_waits_for_it(tmp_path):
    told = tmp_path / "pid"
    (tmp_path / "lasting.py").write_text(LASTING)
    waiting = subprocess.Popen([sys.executable, "-c", WAITING, str(tmp_path), str(told)])
    while not told.exists() or not told.read_text():
        time.sleep(0.01)
    waiting.terminate()
    assert waiting.wait() == 3
    with pytest.raises(ProcessLookupError):
        os.kill(int(told.read_text()), 0)
