"""Environment variables and settings that can change a result: ignored by our own processes, or in the fingerprint."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from contracts import write_idx_pair

from mnist_batch import predict
from mnist_batch.errors import OutputError
from mnist_batch.output import environment
from mnist_batch.output.environment import list_environment_differences, read_environment


@pytest.mark.parametrize(
    "name",
    [
        *("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ONEDNN_DEFAULT_FPMATH_MODE", "TF_XLA_FLAGS", "XLA_FLAGS"),
        *("TF_ENABLE_ONEDNN_OPTS", "TF_ENABLE_TF32", "TF_ENABLE_LAYOUT_NHWC", "TF_NUM_INTRAOP_THREADS"),
        *(
            "TF_DISABLE_MKL",
            "TF_DETERMINISTIC_OPS",
            "TF_USE_LEGACY_KERAS",
            "OPENBLAS_CORETYPE",
            "NPY_DISABLE_CPU_FEATURES",
        ),
        *("OPENCV_IO_MAX_IMAGE_PIXELS", "OPENCV_CPU_DISABLE", "KERAS_FLOATX"),
    ],
)
def test_variable_that_changes_results_is_part_of_the_environment(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(name, raising=False)
    before = read_environment()
    monkeypatch.setenv(name, "7")
    assert read_environment() != before
    shown = "oneDNN default and 7" if name == "TF_ENABLE_ONEDNN_OPTS" else f"{name} unset and 7"
    assert list_environment_differences(before, read_environment()) == shown


@pytest.mark.parametrize(
    "name",
    [
        "TF_CPP_MIN_LOG_LEVEL",
        "TF_VAR_region",
        "TF_LOG",
        "OPENBLAS_NUM_THREADS",
        "OPENCV_LOG_LEVEL",
        "LANG",
        "ONEDNN_VERBOSE",
    ],
)
def test_other_variables_are_not(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = read_environment()
    monkeypatch.setenv(name, "7")
    assert read_environment() == before


@pytest.mark.parametrize(
    ("content", "settings"),
    [
        ('{"floatx": "float16", "backend": "jax"}', {"keras.floatx": "float16"}),
        ('{"floatx": "float32", "epsilon": 1e-07, "image_data_format": "channels_last"}', {}),
        ('{"image_data_format": "channels_first", "epsilon": 0.1}', {"keras.epsilon": "0.1"}),
        ("[1]", {}),
        ("{", {}),
    ],
)
def test_settings_of_keras_are_part_of_the_environment(
    content: str, settings: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "keras.json").write_text(content)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(environment, "is_prepared", lambda: False)
    assert settings.items() <= read_environment().settings.items()
    assert bool(settings) == any(name.startswith("keras.") for name in read_environment().settings)


def test_another_environment_is_another_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = write_idx_pair(tmp_path / "in")
    predict(images, output=tmp_path / "out")
    monkeypatch.setenv("DNNL_MAX_CPU_ISA", "SSE41")
    with pytest.raises(OutputError, match=r"settings\.DNNL_MAX_CPU_ISA: None, now SSE41"):
        predict(images, output=tmp_path / "out")


@pytest.mark.slow
@pytest.mark.parametrize("pixels", ["500", "1e9", "x"])
def test_command_line_ignores_the_settings_of_opencv_and_keras(pixels: str, sample_data: Path, tmp_path: Path) -> None:
    (tmp_path / "keras.json").write_text('{"floatx": "float16", "backend": "jax"}')
    changed = {"OPENCV_IO_MAX_IMAGE_PIXELS": pixels, "KERAS_HOME": str(tmp_path), "KERAS_BACKEND": "jax"}
    for name, variables in (("plain", {}), ("changed", changed)):
        command = ["predict", str(sample_data / "digits"), "-o", str(tmp_path / name), "--quiet"]
        subprocess.run([sys.executable, "-m", "mnist_batch", *command], check=True, env=os.environ | variables)
    plain, other = (json.loads((tmp_path / name / "manifest.json").read_text()) for name in ("plain", "changed"))
    assert other["fingerprint"] == plain["fingerprint"]
    assert other["parts"] == plain["parts"]
