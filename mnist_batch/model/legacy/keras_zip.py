"""Repairs `.keras` files: those of Keras 2.12 to 2.15, and those of Keras 3 with a batch size written in."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

from mnist_batch.errors import ModelError
from mnist_batch.model.causes import find_cause
from mnist_batch.model.foreign import describe_zip
from mnist_batch.model.legacy.config import repair_config
from mnist_batch.model.weights import check_weights

_CONFIG, _METADATA, _WEIGHTS = "config.json", "metadata.json", "model.weights.h5"


def write_repaired_keras(source: Path, target: Path) -> tuple[str, dict[str, Any], list[str]]:
    """Writes the `.keras` file `source` to `target`, repaired. Makes a link if there is nothing to repair.

    Returns the version of Keras, the repaired configuration, and the texts of the repairs. Raises ModelError if the zip
    holds another kind of file, is damaged, or refers to other files.
    """
    try:
        with zipfile.ZipFile(source) as archive:
            return _repair(archive, source, target)
    except (
        *(zipfile.BadZipFile, ValueError, EOFError, OSError, KeyError, NotImplementedError, RuntimeError),
        *(AttributeError, TypeError),  # JSON of another shape
    ) as error:
        raise ModelError(
            f"{source}: a .keras file must be a whole zip archive, found {find_cause(error)}; "
            "it was probably cut off while being copied: fetch it again"
        ) from error


def _repair(archive: zipfile.ZipFile, source: Path, target: Path) -> tuple[str, dict[str, Any], list[str]]:
    import h5py

    names = set(archive.namelist())
    if _CONFIG not in names:
        found, remedy = describe_zip(archive)
        raise ModelError(f"{source}: a .keras file must hold {_CONFIG}, found {found}: {remedy}")
    config, repairs = repair_config(json.loads(archive.read(_CONFIG)))
    metadata = json.loads(archive.read(_METADATA)) if _METADATA in names else {}
    version = str(metadata.get("keras_version", "of unknown version"))
    renamed = None
    if _WEIGHTS in names:
        with archive.open(_WEIGHTS) as weights, h5py.File(weights, "r") as file:
            check_weights(file, source, archive.getinfo(_WEIGHTS).file_size)
        if version.startswith("2."):
            renamed = _rename_weights(archive.read(_WEIGHTS))
    if not repairs and renamed is None:
        # Keras recognizes the format by the suffix, which the user's file need not have.
        target.symlink_to(source.resolve())
        return version, config, repairs
    if renamed is not None:
        repairs.append("groups of weights renamed (Keras 2.12 to 2.15 on Windows)")
    with zipfile.ZipFile(target, "w") as copy:
        copy.writestr(_METADATA, json.dumps(metadata))
        copy.writestr(_CONFIG, json.dumps(config))
        if _WEIGHTS in names:
            copy.writestr(_WEIGHTS, archive.read(_WEIGHTS) if renamed is None else renamed)
        for name in names:
            if name.startswith("assets/") and ".." not in name.split("/"):
                copy.writestr(name, archive.read(name))
    return version, config, repairs


def _rename_weights(content: bytes) -> bytes | None:
    r"""Renames `layers\dense` to `layers/dense`. Returns None if no group has such a name.

    Keras 2.12 to 2.15 on Windows join names of groups with the separator of paths.
    """
    import h5py

    buffer = io.BytesIO(content)
    with h5py.File(buffer, "r+") as file:
        found = [name for name in file if "\\" in name]
        for name in found:
            file.move(name, name.replace("\\", "/"))
    return buffer.getvalue() if found else None
