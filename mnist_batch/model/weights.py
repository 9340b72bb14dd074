"""Checks the HDF5 files of models before Keras reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mnist_batch.errors import ModelError

# The highest ratio of Deflate is 1032 (zlib.net/zlib_tech.html).
_MAX_RATIO = 1100
_FOREIGN = "{}: weights must be in the file itself, found {}: save the model with model.save()"


def check_weights(file: Any, path: Path, size: int) -> None:
    """Raises ModelError if an open HDF5 file refers to other files, or claims more than it can hold.

    path: for messages. size: of the HDF5 file in bytes.
    """
    import h5py

    def check(group: Any) -> None:
        for name in group:
            link = group.get(name, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                raise ModelError(_FOREIGN.format(path, f"a link to {link.filename}"))
            if isinstance(link, h5py.SoftLink):  # within the file; Keras writes none
                raise ModelError(_FOREIGN.format(path, f"a link to {link.path}"))
            if isinstance(entry := group[name], h5py.Group):
                check(entry)
            elif isinstance(entry, h5py.Dataset):
                if entry.external or entry.is_virtual:
                    raise ModelError(_FOREIGN.format(path, f"the data of {entry.name} outside of it"))
                if entry.nbytes > size * _MAX_RATIO:
                    raise ModelError(
                        f"{path}: weights must fit in the file of {size:,} bytes, found {entry.name} of "
                        f"{entry.nbytes:,} bytes: fetch it again"
                    )

    check(file)
