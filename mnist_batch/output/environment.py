"""What a prediction's last bits depend on besides the input, the model and the options: builds and CPU features.

This module imports none of the packages that it names, so it is cheap to ask. Every worker reports its own environment.
"""

from __future__ import annotations

import hashlib
import os
import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

# This package, and those whose releases may change a prediction's last bits or a file's bytes.
_PACKAGES = ("mnist-batch", "tensorflow", "keras", "numpy", "pyarrow", "opencv-python-headless")


@dataclass(frozen=True, slots=True)
class Environment:
    """Part of the fingerprint.

    versions: the version of each package.
    onednn: the value of TF_ENABLE_ONEDNN_OPTS, which chooses TensorFlow's matrix library, or "default".
    cpu: as in `cpu_features`.
    """

    versions: dict[str, str]
    onednn: str
    cpu: str


def read_environment() -> Environment:
    """Returns the environment of this process."""
    versions = {package: version(package) for package in _PACKAGES}
    return Environment(versions, os.environ.get("TF_ENABLE_ONEDNN_OPTS", "default"), cpu_features())


def list_environment_differences(one: Environment, other: Environment) -> str:
    """What differs, in one line. Example: `tensorflow 2.21.0 and 2.20.0`."""
    packages = sorted({*one.versions, *other.versions})
    pairs = [(package, one.versions.get(package), other.versions.get(package)) for package in packages]
    pairs += [("oneDNN", one.onednn, other.onednn), ("CPU", one.cpu, other.cpu)]
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
