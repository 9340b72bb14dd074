"""Repairs `.keras` files: those of Keras 2.12 to 2.15, and those of Keras 3 with a batch size written in."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

from mnist_batch.model.legacy.config import repair_config
from mnist_batch.model.weights import check_weights

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"


def write_repaired_keras(source: Path, target: Path) -> tuple[dict[str, Any], list[str]]:
    """Writes the `.keras` file `source` to `target`, repaired. Makes a link if there is nothing to repair.

    Returns the repaired configuration and the texts of the repairs. Raises ModelError if weights are not in the file
    itself; KeyError, ValueError, EOFError, OSError or BadZipFile if the file is damaged.
    """
    import h5py

    with zipfile.ZipFile(source) as archive:
        names = set(archive.namelist())
        config, repairs = repair_config(json.loads(archive.read(CONFIG)))
        metadata = json.loads(archive.read(METADATA)) if METADATA in names else {}
        renamed = None
        if WEIGHTS in names:
            with archive.open(WEIGHTS) as weights, h5py.File(weights, "r") as file:
                check_weights(file, source, archive.getinfo(WEIGHTS).file_size)
            if str(metadata.get("keras_version", "")).startswith("2."):
                renamed = _rename_weights(archive.read(WEIGHTS))
        if not repairs and renamed is None:
            # Keras recognizes the format by the suffix, which the user's file need not have.
            target.symlink_to(source.resolve())
            return config, repairs
        if renamed is not None:
            repairs.append("groups of weights renamed (Keras 2.12 to 2.15 on Windows)")
        with zipfile.ZipFile(target, "w") as copy:
            copy.writestr(METADATA, json.dumps(metadata))
            copy.writestr(CONFIG, json.dumps(config))
            if WEIGHTS in names:
                copy.writestr(WEIGHTS, archive.read(WEIGHTS) if renamed is None else renamed)
            for name in names:
                if name.startswith("assets/") and ".." not in name.split("/"):
                    copy.writestr(name, archive.read(name))
    return config, repairs


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
