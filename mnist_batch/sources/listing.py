"""Which files the inputs on a command line come to: globs expanded, folders walked, all in one order.

Files are held as Arrow columns, for a folder may hold millions. No file is opened here.
"""

from __future__ import annotations

import errno
import glob
import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mnist_batch.errors import EmptyInputError, InputMissingError, StorageError, UsageError
from mnist_batch.names import to_text
from mnist_batch.runtime import has_spare_core, read_output, script_command
from mnist_batch.sources.folder import list_folder
from mnist_batch.sources.members import Skipped

FILE_SCHEMA = pa.schema({"path": pa.binary(), "size": pa.int64(), "mtime_ns": pa.int64(), "named": pa.bool_()})
# A folder that is itself of this size holds some 20,000 files.
_MANY_FILES_BYTES = 1 << 20
# Rows gathered as Python objects before they become an Arrow batch.
_ROWS_AT_A_TIME = 65_536


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of a run, bytewise in order of their path.

    root: the deepest folder common to all inputs, absolute; folders: the inputs that are folders;
    files: columns as in `FILE_SCHEMA`, path relative to root, named: whether the file was itself an input and not found
    in a folder; arrays: by path, the arrays of an npz that were asked for; skipped: what is no regular file.
    """

    root: Path
    folders: tuple[Path, ...]
    files: pa.Table
    arrays: dict[bytes, list[str]] = field(default_factory=dict)
    skipped: Skipped = field(default_factory=Skipped)


def list_files(inputs: tuple[str, ...]) -> Listing:
    """What `inputs` (paths, globs, `file.npz:array`) come to.

    Raises InputMissingError where one matches nothing, UsageError where one is empty or a file is reached twice.
    """
    folders: list[Path] = []
    files: list[tuple[Path, str | None]] = []
    for text in inputs:
        for path, array in _expand(text):
            if path.is_dir():
                folders.append(path)
            else:
                files.append((path, array))
    root = Path(os.path.commonpath([*folders, *(path.parent for path, _ in files)]))
    rows = _FileTable(root)
    arrays: dict[bytes, list[str]] = {}
    for path, array in files:
        key = os.fsencode(path.relative_to(root))
        if array is not None:
            if array in arrays.setdefault(key, []):
                raise UsageError(f"{path}:{array}: every array must be given once: remove what is double")
            arrays[key].append(array)
            if len(arrays[key]) > 1:
                continue
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise InputMissingError(f"{path}: must be a file or a folder, is neither: check the path")
        rows.add(key, status, named=True)
    for folder in folders:
        rows.walk(folder)
    table = rows.table().sort_by("path")
    paths = table["path"]
    again = pc.equal(paths[1:], paths[:-1])  # they are sorted
    if more := pc.sum(again).as_py():
        twice = paths[pc.index(again, True).as_py()].as_py()
        raise UsageError(
            f"{to_text(twice)}: every file must be given once, {more} are reached by two inputs: remove one"
        )
    return Listing(root, tuple(folders), table, arrays, rows.skipped)


def list_input_folders(inputs: tuple[str, ...]) -> list[Path]:
    """Which of the inputs are folders; none is walked. Raises InputMissingError where one matches nothing, UsageError
    where it is empty.
    """
    return [path for text in inputs for path, _ in _expand(text) if path.is_dir()]


def _expand(text: str) -> list[tuple[Path, str | None]]:
    """The absolute paths that one input on the command line stands for, each with the array asked for, if any."""
    if not text:  # a variable that was not set; Path would take it for the working directory
        raise UsageError("every INPUT must name something, one is empty: give its path, or . for the working directory")
    path = Path(text)
    if _exists(path):
        return [(Path(os.path.abspath(path)), None)]  # noqa: PTH100  (resolve() would follow links: ids tell given names)
    if glob.has_magic(text):
        found = sorted(glob.glob(text, recursive=True))  # noqa: PTH207
        if not found:
            kind = EmptyInputError if _parent_of_pattern(text).is_dir() else InputMissingError
            raise kind(f"{text}: must match a file or folder, matches nothing: check the pattern")
        return [(Path(os.path.abspath(match)), None) for match in found]  # noqa: PTH100
    file, colon, array = text.rpartition(":")
    if colon and Path(file).is_file():
        return [(Path(os.path.abspath(file)), array)]  # noqa: PTH100
    raise InputMissingError(f"{text}: must be a file, a folder or a pattern, there is no such thing: check the path")


def _parent_of_pattern(pattern: str) -> Path:
    """The folder in which a pattern begins to match."""
    return Path(re.split(r"[*?[]", pattern, maxsplit=1)[0] + "x").parent


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:  # a name that is too long, a folder that may not be entered
        raise InputMissingError(f"{path}: must be readable, but: {error.strerror}; check the path") from error


def _is_dangling(entry: os.DirEntry[bytes]) -> bool:
    """Whether it is a link to nothing, or to itself, which the system refuses to follow."""
    if not entry.is_symlink():
        return False
    try:
        os.stat(entry.path)  # noqa: PTH116  (bytes: a name may be no UTF-8)
    except OSError as error:
        return error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
    return False


class _FileTable:
    """Gathers files into Arrow, a batch at a time."""

    def __init__(self, root: Path) -> None:
        self._root = os.path.join(os.fsencode(root), b"")  # noqa: PTH118  (bytes: a name may be no UTF-8)
        self._batches: list[pa.RecordBatch] = []
        self._columns: list[list[Any]] = [[] for _ in FILE_SCHEMA]
        self.skipped = Skipped()

    def add(self, path: bytes, status: os.stat_result, named: bool) -> None:
        paths, sizes, changes, nameds = self._columns
        paths.append(path)
        sizes.append(status.st_size)
        changes.append(status.st_mtime_ns)
        nameds.append(named)
        if len(paths) == _ROWS_AT_A_TIME:
            self._flush()

    def walk(self, folder: Path) -> None:
        """Adds the regular files below `folder`; links are followed, a link back to a folder above is not."""
        below = len(self._root)
        pending: list[tuple[bytes, frozenset[tuple[int, int]]]] = [(os.fsencode(folder), frozenset())]
        while pending:
            path, above = pending.pop()
            try:
                status = os.stat(path)  # noqa: PTH116  (bytes: a name may be no UTF-8)
                here = (status.st_dev, status.st_ino)
                if here in above:
                    self.skipped["(link to a folder above)"] += 1
                    continue
                if status.st_size >= _MANY_FILES_BYTES and self._list_in_subprocess(path):
                    continue
                with os.scandir(path) as entries:
                    for entry in entries:
                        if entry.is_file(follow_symlinks=False):  # nearly all of them
                            self.add(entry.path[below:], entry.stat(), named=False)
                        elif _is_dangling(entry):
                            self.skipped["(dangling link)"] += 1
                        elif entry.is_dir():
                            pending.append((entry.path, above | {here}))
                        elif entry.is_file():
                            self.add(entry.path[below:], entry.stat(), named=False)
                        else:
                            self.skipped["(special file)"] += 1
            except OSError as error:
                raise StorageError(
                    f"{to_text(path)}: every folder of the input must be readable, but: {error.strerror}; "
                    "give the right to read it, or name the folders to be scored one by one"
                ) from error

    def _list_in_subprocess(self, folder: bytes) -> bool:
        """Adds the files in a folder that a process of its own lists; False where it holds more than regular files.

        While it does, TensorFlow can be imported, for nobody else needs the interpreter.
        """
        if not has_spare_core():
            return False
        listed = read_output(script_command(list_folder.__file__, folder))
        if listed is None:
            return False
        count = int(np.frombuffer(listed, np.int64, 1)[0])
        sizes, changes = np.frombuffer(listed, np.int64, 2 * count, 8).reshape(2, -1)
        names = np.frombuffer(listed, np.uint8, offset=8 + 16 * count)
        stops = np.append(np.flatnonzero(names == 0), len(names))[:count] - np.arange(count)
        buffers = [None, pa.py_buffer(np.append(0, stops).astype(np.int32)), pa.py_buffer(names[names != 0])]
        below = os.path.join(folder, b"")[len(self._root) :]  # noqa: PTH118  (bytes: a name may be no UTF-8)
        paths = pc.binary_join_element_wise(below, pa.BinaryArray.from_buffers(pa.binary(), count, buffers), b"")
        self._batches.append(pa.record_batch([paths, sizes, changes, np.zeros(count, bool)], schema=FILE_SCHEMA))
        return True

    def table(self) -> pa.Table:
        self._flush()
        return pa.Table.from_batches(self._batches, FILE_SCHEMA)

    def _flush(self) -> None:
        self._batches.append(
            pa.record_batch(
                [pa.array(c, f.type) for c, f in zip(self._columns, FILE_SCHEMA, strict=True)], schema=FILE_SCHEMA
            )
        )
        for column in self._columns:
            column.clear()
