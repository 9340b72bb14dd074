"""Expands patterns of file names as `glob` does, but does not follow a link back to a folder above.

`glob` follows such links until the system refuses, forty levels deep, and with two of them it never ends.
"""

from __future__ import annotations

import fnmatch
import glob
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from mnist_batch.errors import StorageError

_ANY_DEPTH = "**"
# The device and inode of each folder on the way down.
_Above = frozenset[tuple[int, int]]


def has_wildcard(text: str) -> bool:
    """Whether a path is a pattern: it has `*`, `?` or `[`."""
    return glob.has_magic(text)


def expand_pattern(pattern: str) -> list[Path]:
    """The files and folders that match, sorted.

    `**` stands for any number of folders, none included. Wildcards match names that begin with a dot only if the
    pattern has the dot too. What is below a folder that matches is left out, because it belongs to that folder.

    Raises StorageError if a folder on the way cannot be read.
    """
    matches = sorted(set(_match(Path(), Path(pattern).parts, frozenset())))
    folders = {path for path in matches if path.is_dir()}
    return [path for path in matches if folders.isdisjoint(path.parents)]


def _match(folder: Path, parts: tuple[str, ...], above: _Above) -> Iterator[Path]:
    """The matches of the remaining parts of a pattern below `folder`."""
    if not parts:
        yield folder
        return
    part, rest = parts[0], parts[1:]
    if part == _ANY_DEPTH:
        here = _identify(folder)
        if here in above:  # reached by a link back to it
            return
        yield from _match(folder, rest, frozenset())
        for entry in _scan(folder, lambda name: not name.startswith(".")):
            if entry.is_dir():
                yield from _match(folder / entry.name, parts, above | {here})
            elif not rest:
                yield folder / entry.name
    elif has_wildcard(part):
        matches = re.compile(fnmatch.translate(part)).match
        may_hide = part.startswith(".")
        for entry in _scan(folder, lambda name: bool(matches(name)) and (may_hide or not name.startswith("."))):
            if not rest or entry.is_dir():
                yield from _match(folder / entry.name, rest, frozenset())
    elif os.path.lexists(folder / part):
        yield from _match(folder / part, rest, frozenset())


def _identify(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _scan(folder: Path, wanted: Callable[[str], bool]) -> list[os.DirEntry[str]]:
    if not folder.is_dir():
        return []
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if wanted(entry.name)]
    except OSError as error:
        raise StorageError(
            f"{folder}: every folder of the pattern must be readable, but: {error.strerror}; "
            "grant permission to read it, or name the files in another way"
        ) from error
