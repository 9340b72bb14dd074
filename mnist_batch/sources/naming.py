"""Whether the ids made of names stay unique: `a.zip!b.png` may be a member, or a file that is called so.

Knows names only. Rows of one container are told apart by the container itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pyarrow as pa

from mnist_batch.errors import InputError
from mnist_batch.names import text_of
from mnist_batch.sources.members import matching

# What stands between a container's name and what tells its rows apart.
_SEPARATORS = "!#"


def check_distinct(paths: pa.BinaryArray, containers: Sequence[str]) -> None:
    """Raises InputError where the rows of two files might get the same id.

    paths: of image files, whose ids they are; containers: names, with which the ids of their rows begin.
    """
    # Millions of names become Python objects only where one holds a literal `\xNN`, or might be a row of a container.
    if matching(paths, r"\\x").any():
        _check_once(map(text_of, paths.to_pylist()))
    _check_once(containers)
    unusual = paths.filter(pa.array(matching(paths, f"[{_SEPARATORS}]"))).to_pylist() if containers else []
    known = set(containers)
    for text in [*map(text_of, unusual), *containers]:
        for place, letter in enumerate(text):
            if letter in _SEPARATORS and text[:place] in known:
                raise InputError(f"{text}: must not be written like a row of {text[:place]} in ids: rename one of them")


def _check_once(texts: Iterable[str]) -> None:
    seen: set[str] = set()
    for text in texts:
        if text in seen:
            raise InputError(f"{text}: two files are written so in ids, one being no UTF-8: rename one of them")
        seen.add(text)
