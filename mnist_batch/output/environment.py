"""What a prediction's last bits depend on besides the input, the model and the options: builds and CPU features.

This module imports none of the packages that it names, so it is cheap to ask. Every worker reports its own environment.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from mnist_batch.runtime import is_prepared

# This package, and those whose releases may change a prediction's last bits or a file's bytes.
_PACKAGES = ("mnist-batch", "tensorflow", "keras", "numpy", "pyarrow", "opencv-python-headless")
# Variables by which these packages and their matrix libraries choose their code. Terraform's begin with TF_ too.
_VARIABLE = re.compile(
    r"(XLA|ONEDNN|DNNL|OPENBLAS|OPENCV|KERAS|NPY)_.+"
    r"|TF_(AUTO|CUBLAS|CUDNN|DETERMINISTIC|DISABLE|ENABLE|MKL|NUM|ONEDNN|OVERRIDE|USE|XLA)_.+"
)
# These change no result: what is printed, where files are, how many threads there are. The first has its own field.
_WITHOUT_EFFECT = re.compile(
    r"TF_ENABLE_ONEDNN_OPTS|KERAS_HOME|KERAS_BACKEND|OPENCV_LOG_.+|OPENBLAS_(NUM_THREADS|VERBOSE)"
    r"|(ONEDNN|DNNL)_VERBOSE.*"
)
# Keras's own configuration file sets these for models that do not say them.
_KERAS_DEFAULTS = {"floatx": "float32", "epsilon": 1e-07, "image_data_format": "channels_last"}


@dataclass(frozen=True, slots=True)
class Environment:
    """Part of the fingerprint.

    versions: the version of each package.
    onednn: the value of TF_ENABLE_ONEDNN_OPTS, which chooses TensorFlow's matrix library, or "default".
    cpu: as in `cpu_features`.
    settings: the other environment variables and settings of Keras that may change a result, by name.
    """

    versions: dict[str, str]
    onednn: str
    cpu: str
    settings: dict[str, str] = field(default_factory=dict)


def read_environment() -> Environment:
    """Returns the environment of this process."""
    versions = {package: version(package) for package in _PACKAGES}
    variables = {
        name: value
        for name, value in sorted(os.environ.items())
        if _VARIABLE.fullmatch(name) and not _WITHOUT_EFFECT.fullmatch(name)
    }
    onednn = os.environ.get("TF_ENABLE_ONEDNN_OPTS", "default")
    settings = variables if is_prepared() else variables | _read_keras_settings()
    return Environment(versions, onednn, cpu_features(), settings)


def _read_keras_settings() -> dict[str, str]:
    """What Keras's configuration file changes, by name; nothing if there is none or Keras cannot read it."""
    path = Path(os.environ.get("KERAS_HOME") or Path("~/.keras").expanduser()) / "keras.json"
    try:
        values = json.loads(path.read_bytes())
        found = {name: values.get(name, default) for name, default in _KERAS_DEFAULTS.items()}
    except (OSError, ValueError, AttributeError, RecursionError):
        return {}
    return {f"keras.{name}": str(value) for name, value in found.items() if value != _KERAS_DEFAULTS[name]}


def list_environment_differences(one: Environment, other: Environment) -> str:
    """What differs, in one line. Example: `tensorflow 2.21.0 and 2.20.0`."""
    packages = sorted({*one.versions, *other.versions})
    pairs = [(package, one.versions.get(package), other.versions.get(package)) for package in packages]
    pairs += [("oneDNN", one.onednn, other.onednn), ("CPU", one.cpu, other.cpu)]
    names = sorted({*one.settings, *other.settings})
    pairs += [(name, one.settings.get(name, "unset"), other.settings.get(name, "unset")) for name in names]
    return ", ".join(f"{name} {first} and {second}" for name, first, second in pairs if first != second)


def cpu_features() -> str:
    """Returns a digest of the instruction sets by which the matrix library chooses its code.

    Returns the machine's name instead if the system does not list them.
    """
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # macOS
        return f"{platform.machine()} {platform.processor()}"
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return f"{platform.machine()} {hashlib.sha256(flags.encode()).hexdigest()[:16]}"
