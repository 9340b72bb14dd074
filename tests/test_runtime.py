"""What the program does to its own process, and that it leaves a host's process as it was."""

import gc
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from mnist_batch.errors import InterruptedRun, MnistBatchError
from mnist_batch.runtime import environment_during_import, import_in_background, pause_garbage_collection


@pytest.mark.parametrize("enabled", [True, False])
def test_gc_pauses_and_is_restored(enabled: bool) -> None:
    enabled_before, frozen = gc.isenabled(), gc.get_freeze_count()
    (gc.enable if enabled else gc.disable)()
    try:
        with suppress(KeyError), pause_garbage_collection() as resume:
            assert not gc.isenabled()
            resume()
            assert gc.isenabled() is enabled
            raise KeyError
        assert gc.isenabled() is enabled
        assert gc.get_freeze_count() == frozen
    finally:
        (gc.enable if enabled_before else gc.disable)()


def test_environment_of_an_import_is_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SET_BEFORE", "1")
    monkeypatch.setenv("CHANGED", "1")
    with environment_during_import(SET_BEFORE="2", NEW="2"):
        assert (os.environ["SET_BEFORE"], os.environ["NEW"]) == ("2", "2")
        os.environ["CHANGED"] = "by the library"
    assert (os.environ["SET_BEFORE"], os.environ["CHANGED"], os.environ.get("NEW")) == ("1", "1", None)


# Prints the state of a process before and after `predict`. argv: input, output.
HOST = """
import faulthandler, gc, json, locale, logging, os, signal, sys, threading, warnings
import cv2, keras, numpy, tensorflow as tf

signal.signal(signal.SIGTERM, lambda *_: None)
os.environ["KERAS_BACKEND"] = "jax"
os.environ["OPENBLAS_NUM_THREADS"] = "3"
gc.collect()
gc.freeze()
gc.set_threshold(500, 7, 9)
tf.random.set_seed(3)
tf.config.set_soft_device_placement(False)

def state():
    return {
        "environment": {name: value for name, value in os.environ.items()},
        "gc": [gc.isenabled(), gc.get_threshold(), gc.get_freeze_count()],
        "signals": [str(signal.getsignal(number)) for number in signal.valid_signals() if number not in (9, 19)],
        "mask": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
        "streams": [os.readlink(f"/proc/self/fd/{number}") for number in (0, 1, 2)],
        "objects": [id(sys.stdout), id(sys.stderr), id(sys.excepthook), id(threading.excepthook)],
        "switch interval": sys.getswitchinterval(),
        "recursion limit": sys.getrecursionlimit(),
        "warnings": [str(item) for item in warnings.filters],
        "logging": [logging.getLogger().level, logging.getLogger("tensorflow").level, logging.getLogger("absl").level],
        "locale": locale.setlocale(locale.LC_ALL),
        "folder": os.getcwd(),
        "faulthandler": faulthandler.is_enabled(),
        "numpy": numpy.geterr(),
        "opencv": cv2.getNumThreads(),
        "keras": [keras.backend.floatx(), keras.backend.image_data_format(), keras.config.backend()],
        "tensorflow": [
            tf.config.get_soft_device_placement(),
            tf.config.threading.get_inter_op_parallelism_threads(),
            tf.config.threading.get_intra_op_parallelism_threads(),
            tf.config.functions_run_eagerly(),
            tf.config.experimental.tensor_float_32_execution_enabled(),
            tf.data.experimental.enable_debug_mode.__name__,
            tf.get_logger().level,
            str(tf.random.get_global_generator().state.numpy().tolist()),
            tf.executing_eagerly(),
        ],
    }

before = state()
from mnist_batch import predict
result = predict(sys.argv[1], output=sys.argv[2])
after = state()
print(json.dumps([result.rows, before, after]))
"""


def test_predict_leaves_its_host_as_it_was(sample_data: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOST, str(sample_data / "digits.zip"), str(tmp_path / "out")]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    rows, before, after = json.loads(run.stdout)
    assert rows == 300
    assert before["environment"]["KERAS_BACKEND"] == "jax"
    frozen_before, frozen = before["gc"].pop(), after["gc"].pop()
    assert 0.9 * frozen_before < frozen <= frozen_before  # some frozen objects are no longer referenced
    assert after == before


@pytest.mark.slow
def test_own_imports_leave_the_environment_of_a_host(sample_data: Path, tmp_path: Path) -> None:
    """The same in a host that has imported none of the libraries. They may add variables, but change none."""
    program = """
import json, os, sys
from mnist_batch import predict
before = dict(os.environ)
predict(sys.argv[1], output=sys.argv[2])
print(json.dumps([before, dict(os.environ)]))
"""
    environment = {**os.environ, "KERAS_BACKEND": "jax", "LD_LIBRARY_PATH": "/mine", "OPENCV_LOG_LEVEL": "SILENT"}
    command = [sys.executable, "-c", program, str(sample_data / "digits.zip"), str(tmp_path / "out")]
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    before, after = json.loads(run.stdout)
    assert {name: after.get(name) for name in before} == before
    assert "OPENCV_IO_MAX_IMAGE_PIXELS" not in after


def run_prepared(code: str, before: str = "pass", **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs code in a process that `prepare` has set up. before: code that runs first."""
    program = f"import ctypes, os, sys\nfrom mnist_batch import runtime\n{before}\nruntime.prepare()\n{code}"
    return subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
        timeout=60,
    )


def test_native_output_is_kept_apart() -> None:
    run = run_prepared("""
os.write(1, b"native out ")
os.write(2, b"native err")
print("python out"); print("python err", file=sys.stderr)
print(runtime.quote_native_output())
""")
    assert (run.stdout, run.stderr) == ("python out\nnative out native err\n", "python err\n")


def test_native_output_is_bounded() -> None:
    run = run_prepared("""
for _ in range(30):
    os.write(2, b"x" * 100_000)
    runtime.limit_native_output()
os.write(2, b"the end")
print(os.fstat(2).st_size < 2_000_000, runtime.quote_native_output()[-9:], len(runtime.quote_native_output()))
""")
    assert run.stdout == "True xxthe end 2000\n"


def test_native_output_without_room_for_a_file(tmp_path: Path) -> None:
    before = f"import tempfile; tempfile.tempdir = {str(tmp_path / 'none')!r}"
    run = run_prepared("os.write(2, b'lost'); print('kept')", before)
    assert (run.stdout, run.stderr) == ("kept\n", "")


@pytest.mark.parametrize("crash", ["ctypes.string_at(0)", "os.abort()"])
def test_crash_in_native_code_is_never_silent(crash: str) -> None:
    run = run_prepared(crash)
    assert run.returncode in (-signal.SIGSEGV, -signal.SIGABRT)
    assert "Fatal Python error" in run.stderr
    assert 'File "<string>", line 5' in run.stderr


def test_bug_quotes_native_output(tmp_path: Path) -> None:
    program = """
import os
from mnist_batch.cli import app
from mnist_batch.run import job
def fail(*_):
    os.write(2, b"libsomething: out of luck")
    raise RuntimeError("boom")
job.run_job = fail
app.run()
"""
    command = [sys.executable, "-c", program, "predict", "x", "--output", str(tmp_path / "out")]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 70
    assert "last output of native libraries:\nlibsomething: out of luck\nTraceback" in run.stderr


@pytest.mark.parametrize("settings", [{}, {"OPENBLAS_NUM_THREADS": "3"}])
def test_prepare_keeps_what_the_environment_says(settings: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    run = run_prepared("print(os.environ['OPENBLAS_NUM_THREADS'])", **settings)
    assert run.stdout == settings.get("OPENBLAS_NUM_THREADS", "1") + "\n"


def test_prepare_works_without_glibc() -> None:
    before = "from types import SimpleNamespace; ctypes.CDLL = lambda _: SimpleNamespace()"
    assert run_prepared("runtime.release_freed_memory(); print('done')", before).stdout == "done\n"


def list_errors(kind: type[MnistBatchError]) -> list[type[MnistBatchError]]:
    return [kind, *(deep for child in kind.__subclasses__() for deep in list_errors(child))]


@pytest.mark.parametrize("kind", list_errors(MnistBatchError))
def test_every_error_pickles(kind: type[MnistBatchError]) -> None:
    """A worker sends its errors to the process that reports them."""
    error = kind(signal.SIGTERM, "for a test") if kind is InterruptedRun else kind("a: must be b")
    error.add_note("in shard 3")
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.exit_code, copy.__notes__) == (
        kind, str(error), error.exit_code, error.__notes__
    )  # fmt: skip


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


@pytest.mark.slow
def test_own_process_ignores_settings_of_keras_but_not_where_its_files_are(tmp_path: Path) -> None:
    (tmp_path / "keras.json").write_text('{"floatx": "float16", "epsilon": 0.1, "image_data_format": "channels_first"}')
    code = """
from mnist_batch.model.backend import keras
from mnist_batch.output.environment import read_environment
print(keras.config.floatx(), keras.config.epsilon(), keras.config.image_data_format())
print(os.environ["KERAS_HOME"], "KERAS_TORCH_DEVICE" in os.environ)
print([name for name in read_environment().settings if name.lower().startswith("keras")])
"""
    run = run_prepared(code, KERAS_HOME=str(tmp_path), KERAS_TORCH_DEVICE="cpu")
    assert run.stdout == f"float32 1e-07 channels_last\n{tmp_path} False\n[]\n", run.stderr
