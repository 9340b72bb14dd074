"""The ids of rows: they must differ, whatever the names of files and members are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pyarrow as pa

from mnist_batch.errors import InputError
from mnist_batch.names import to_text
from mnist_batch.sources.members import match_pattern

# In the ids of a container's rows, one of these follows the container's name.
_SEPARATORS = "!#"


def check_ids_distinct(paths: pa.BinaryArray, containers: Sequence[str]) -> None:
    """Raises InputError if rows of two files could get the same id.

    paths: image files, whose paths are their ids.
    containers: the names that begin the ids of their rows.
    """
    # There may be millions of paths. Those that hold neither a literal `\xNN` nor a separator stay in Arrow.
    if match_pattern(paths, r"\\x").any():
        _check_unique(map(to_text, paths.to_pylist()))
    _check_unique(containers)
    unusual = paths.filter(pa.array(match_pattern(paths, f"[{_SEPARATORS}]"))).to_pylist() if containers else []
    known = set(containers)
    for text in [*map(to_text, unusual), *containers]:
        for position, letter in enumerate(text):
            if letter in _SEPARATORS and text[:position] in known:
                raise InputError(f"{text}: must not look like the id of a row of {text[:position]}: rename one of them")


def _check_unique(texts: Iterable[str]) -> None:
    seen: set[str] = set()
    for text in texts:
        if text in seen:
            raise InputError(
                f"{text}: ids must be unique, two files get this one because a name is not UTF-8: rename one of them"
            )
        seen.add(text)
