"""Whether every id of a run stands for one row, where ids come from the input and not from us."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from mnist_batch.errors import InputError
from mnist_batch.output.protocol import Sink
from mnist_batch.output.store import list_staged_parts


def check_unique_ids(staging: Path, sink: Sink) -> None:
    """Raises InputError naming an id that stands in the staged parts more than once. Holds 8 bytes a row."""
    from pandas.util import hash_array

    hashes = np.concatenate([hash_array(ids.to_numpy(zero_copy_only=False)) for ids in _read_ids(staging, sink)])
    values, counts = np.unique(hashes, return_counts=True)
    if len(values) == len(hashes):
        return
    suspects = set(values[counts > 1].tolist())
    found: Counter[str] = Counter()  # two ids may share a hash: the ids themselves decide
    for ids in _read_ids(staging, sink):
        array = ids.to_numpy(zero_copy_only=False)
        found.update(array[np.isin(hash_array(array), list(suspects))].tolist())
    (name, times), *_ = found.most_common(1)
    if times > 1:
        raise InputError(
            f"--id-column: every id must stand for one row, {name!r} stands for {times}: "
            "name another column, or leave it out to number the rows"
        )


def _read_ids(staging: Path, sink: Sink) -> Iterator[pa.Array]:
    for path in list_staged_parts(staging, sink.suffix):
        yield sink.read(path)["id"].combine_chunks()
