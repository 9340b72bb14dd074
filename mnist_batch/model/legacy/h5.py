"""Repairs Keras HDF5 files (`.h5`) of Keras 2.0.5 to 3. Weights are copied unchanged."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from mnist_batch.errors import ModelError
from mnist_batch.model.legacy.config import repair_config
from mnist_batch.model.weights import check_weights
from mnist_batch.records import first_line


def write_repaired_h5(source: Path, target: Path) -> tuple[str, dict[str, Any], list[str]]:
    """Copies the HDF5 file `source` to `target`, with a configuration that Keras 3 can build.

    Returns the version of Keras, the repaired configuration, and the texts of the repairs. Raises ModelError if the
    file is damaged or has no architecture, OSError if copying fails.
    """
    # Imported here because HDF5 takes a quarter of a second to start, and most models do not use it.
    import h5py

    shutil.copyfile(source, target)
    try:
        with h5py.File(target, "r+") as file:
            check_weights(file, source, source.stat().st_size)
            config, repairs = repair_config(json.loads(_read_architecture(file, source)))
            file.attrs["model_config"] = json.dumps(config)
            version = file.attrs.get("keras_version", "of unknown version")
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{source}: a Keras HDF5 file must be readable to its end, found {first_line(error)}; "
            "it was probably cut off while being copied: fetch it again"
        ) from error
    return version.decode(errors="replace") if isinstance(version, bytes) else str(version), config, repairs


def _read_architecture(file: Any, source: Path) -> str:
    config = file.attrs.get("model_config")
    if isinstance(config, bytes):
        config = config.decode()
    if isinstance(config, str) and config.startswith("{"):
        return config
    found = "weights only" if {"layer_names", "layers"} & {*file.attrs, *file} else "none"
    raise ModelError(
        f"{source}: a model must hold its architecture (the HDF5 attribute model_config), found {found}: "
        "build the model in Python, load these weights, and save it with model.save(), not save_weights()"
    )
