"""Checks of ids that come from the input. Ids that this program makes are unique by construction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mnist_batch.errors import InputError
from mnist_batch.hashing import hash_texts
from mnist_batch.output.protocol import Sink
from mnist_batch.output.store import list_staged_parts


def check_unique_ids(staging: Path, sink: Sink) -> None:
    """Raises InputError, naming an id, if an id occurs more than once in the staged parts.

    Holds a hash of 8 bytes per row. Ids whose hashes are equal are then compared themselves.
    """
    hashes = np.concatenate([hash_texts(ids) for ids in read_staged_ids(staging, sink)])
    values, counts = np.unique(hashes, return_counts=True)
    if len(values) == len(hashes):
        return
    repeated_hashes = values[counts > 1].tolist()
    occurrences: Counter[str] = Counter()
    for ids in read_staged_ids(staging, sink):
        occurrences.update(ids.filter(pa.array(np.isin(hash_texts(ids), repeated_hashes))).to_pylist())
    (name, times), *_ = occurrences.most_common(1)
    if times > 1:
        raise InputError(
            f"--id-column: every id must be unique, {name!r} occurs in {times} rows: "
            "name another column, or omit the option to number the rows"
        )


def find_first_absent(texts: pa.StringArray, found: Iterable[pa.StringArray]) -> str | None:
    """The first of the texts that is in none of the arrays; None if all are."""
    absent = texts
    for ids in found:
        absent = absent.filter(pc.invert(pc.is_in(absent, ids)))
    return absent[0].as_py() if len(absent) else None


def read_staged_ids(staging: Path, sink: Sink) -> Iterator[pa.StringArray]:
    """Yields the ids of each staged part, predictions first."""
    for path in list_staged_parts(staging, sink.suffix):
        yield sink.read(path)["id"].combine_chunks()
