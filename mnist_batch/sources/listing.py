"""Lists the files that the inputs name: expands globs, walks folders, and sorts all files by path.

Files are held as Arrow columns, because a folder may hold millions of them. No file is opened here.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mnist_batch.errors import EmptyInputError, InputMissingError, StorageError, UsageError
from mnist_batch.names import to_text
from mnist_batch.records import first_line
from mnist_batch.sources.child_process import has_spare_core, read_output, script_command
from mnist_batch.sources.folder import list_folder
from mnist_batch.sources.links import drop_repeated_links, real_path_if_linked
from mnist_batch.sources.members import Skipped, is_hidden_folder
from mnist_batch.sources.patterns import expand_pattern, has_wildcard
from mnist_batch.sources.tables import check_not_a_table, check_not_iceberg

FILE_SCHEMA = pa.schema({"path": pa.binary(), "size": pa.int64(), "mtime_ns": pa.int64(), "named": pa.bool_()})
# The size of a folder's own directory file; one of this size holds about 20,000 files.
_LARGE_FOLDER_BYTES = 1 << 20
# Rows collected as Python objects before they become an Arrow batch.
_CHUNK_ROWS = 65_536


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of a run, sorted bytewise by path, or in the order of a list.

    root: the deepest folder common to all inputs, absolute.
    folders: the inputs that are folders.
    files: columns as in `FILE_SCHEMA`. path is relative to root; named says whether the file was itself an input, not
        found in a folder.
    arrays: the requested arrays of npz files, by path.
    skipped: what is not a regular file.
    """

    root: Path
    folders: tuple[Path, ...]
    files: pa.Table
    arrays: dict[bytes, list[str]] = field(default_factory=dict)
    skipped: Skipped = field(default_factory=Skipped)


def list_files(inputs: tuple[str, ...], large_folder_bytes: int = _LARGE_FOLDER_BYTES) -> Listing:
    """Lists the files of `inputs`: paths, globs, or `file.npz:array`.

    large_folder_bytes: folders whose directory file has at least this size are listed by a subprocess.
    Raises InputMissingError if an input matches nothing, UsageError if one is empty or two inputs reach the same file.
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
    builder = _FileTableBuilder(root, large_folder_bytes)
    arrays: dict[bytes, list[str]] = {}
    for path, array in files:
        key = os.fsencode(path.relative_to(root))
        if array is not None:
            if array in arrays.setdefault(key, []):
                raise UsageError(
                    f"{path}:{array}: every array must be given once, this one is given twice: remove the repetition"
                )
            arrays[key].append(array)
            if len(arrays[key]) > 1:
                continue
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise InputMissingError(f"{path}: must be a file or a folder, is neither: check the path")
        builder.add_named(key, status)
    for folder in folders:
        builder.walk(folder)
    return builder.finish(builder.table().sort_by("path"), folders, arrays)


def list_named_files(paths: tuple[str, ...]) -> Listing:
    """Lists files in the order given. Paths are relative to the working directory.

    Raises InputMissingError if one does not exist, UsageError if one is a folder or is given twice.
    """
    files = [make_absolute(path) for path in paths]
    root = Path(os.path.commonpath({path.parent for path in files}))
    builder = _FileTableBuilder(root, _LARGE_FOLDER_BYTES)
    missing: list[tuple[str, str]] = []
    for text, path in zip(paths, files, strict=True):
        try:
            status = path.stat()
        except (OSError, ValueError) as error:  # ValueError: a null byte in the name
            missing.append((text, first_line(error) if isinstance(error, ValueError) else str(error.strerror)))
            continue
        if stat.S_ISDIR(status.st_mode):
            raise UsageError(f"{text}: must be a file, a list may not name folders: name the files in it")
        if not stat.S_ISREG(status.st_mode):
            raise InputMissingError(f"{text}: must be a file, is a device or a pipe: check the list")
        builder.add_named(os.fsencode(path.relative_to(root)), status)
    if missing:
        others = len(missing) - 1
        more = f", and {others} more cannot be opened either" if others else ""
        text, cause = missing[0]
        raise InputMissingError(f"{text}: must be a file, but: {cause}{more}; check the list")
    return builder.finish(builder.table(), [], {})


def list_input_folders(inputs: tuple[str, ...], listed: bool = False) -> tuple[list[Path], list[Path]]:
    """The inputs that are folders, and the folders that the others are in. Does not walk them.

    listed: as in `ReadOptions`. Raises InputMissingError if an input matches nothing, UsageError if one is empty.
    """
    if listed:
        return [], [make_absolute(folder) for folder in {os.path.dirname(path) for path in inputs}]  # noqa: PTH120  (fast)
    paths = {path: path.is_dir() for text in inputs for path, _ in _expand(text)}
    return [path for path, is_dir in paths.items() if is_dir], list(
        dict.fromkeys(path.parent for path, is_dir in paths.items() if not is_dir)
    )


def _expand(text: str) -> list[tuple[Path, str | None]]:
    """The absolute paths that one input names, each with the requested npz array, if any."""
    if not text:  # usually an unset variable; Path would take it for the working directory
        raise UsageError("every INPUT must name something, one is empty: give its path, or . for the working directory")
    path = Path(text)
    if _exists(path):
        return [(make_absolute(path), None)]
    if has_wildcard(text):
        matches = expand_pattern(text)
        if not matches:
            error = EmptyInputError if _parent_of_pattern(text).is_dir() else InputMissingError
            raise error(f"{text}: must match a file or folder, matches nothing: check the pattern")
        return [(make_absolute(match), None) for match in matches]
    file, colon, array = text.rpartition(":")
    if colon and Path(file).is_file():
        return [(make_absolute(file), array)]
    raise InputMissingError(f"{text}: must be a file, a folder or a pattern, but does not exist: check the path")


def make_absolute(path: Path | str) -> Path:
    """The path from the root, without `..`. Links keep their names, because ids have them.

    After a link, `..` is the folder above its target, as for the system. `os.path.abspath` would take it for the folder
    that the link is in, and lead to another file.
    """
    result = Path("/")
    for part in (Path.cwd() / path).parts[1:]:
        if part == "..":
            result = (result.resolve() if result.is_symlink() else result).parent
        else:
            result /= part
    return result


def _parent_of_pattern(pattern: str) -> Path:
    """The deepest folder of a pattern before its first wildcard."""
    return Path(re.split(r"[*?[]", pattern, maxsplit=1)[0] + "x").parent


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:  # the name is too long, or a folder may not be entered
        raise InputMissingError(f"{path}: must be readable, but: {error.strerror}; check the path") from error


def _is_dangling(entry: os.DirEntry[bytes]) -> bool:
    """Whether the entry is a link to nothing, or to itself, which the system refuses to follow."""
    if not entry.is_symlink():
        return False
    try:
        os.stat(entry.path)  # noqa: PTH116  (bytes: a name may not be UTF-8)
    except OSError as error:
        return error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
    return False


def _real_path_below(entry: os.DirEntry[bytes], real: bytes | None) -> bytes | None:
    """The real path of a folder if it is a link, or in a folder that was reached by one, whose real path is `real`."""
    if entry.is_symlink():
        return os.path.realpath(entry.path)
    return None if real is None else os.path.join(real, entry.name)  # noqa: PTH118  (bytes)


class _FileTableBuilder:
    """Collects files into an Arrow table, batch by batch."""

    def __init__(self, root: Path, large_folder_bytes: int) -> None:
        self._root = os.path.join(os.fsencode(root), b"")  # noqa: PTH118  (bytes: a name may not be UTF-8)
        self._large_folder_bytes = large_folder_bytes
        self._batches: list[pa.RecordBatch] = []
        self._columns: list[list[Any]] = [[] for _ in FILE_SCHEMA]
        self.skipped = Skipped()
        self.real_root = os.path.realpath(os.fsencode(root))
        # The real path of each file that was reached by a link.
        self.links: dict[bytes, bytes] = {}
        # The real path of each folder that holds named files.
        self._real_folders: dict[bytes, bytes] = {}

    def add(self, path: bytes, status: os.stat_result, named: bool) -> None:
        paths, sizes, changes, named_flags = self._columns
        paths.append(path)
        sizes.append(status.st_size)
        changes.append(status.st_mtime_ns)
        named_flags.append(named)
        if len(paths) == _CHUNK_ROWS:
            self._flush()

    def add_named(self, path: bytes, status: os.stat_result) -> None:
        """Adds a file that is itself an input."""
        self.add(path, status, named=True)
        if not self.note_link(path):
            folder, name = os.path.split(path)
            if folder not in self._real_folders:
                self._real_folders[folder] = os.path.realpath(self._root + folder)
            real = os.path.join(self._real_folders[folder], name)  # noqa: PTH118  (bytes)
            if real != os.path.join(self.real_root, path):  # noqa: PTH118  (bytes)
                self.links[path] = real

    def note_link(self, path: bytes) -> bool:
        """Remembers where a path leads, if it is a link. Returns whether it is one."""
        whole = self._root + path
        is_link = os.path.islink(whole)  # noqa: PTH114  (bytes)
        if is_link:
            self.links[path] = os.path.realpath(whole)
        return is_link

    def walk(self, folder: Path) -> None:
        """Adds the regular files below `folder`. Follows links, except a link back to a folder above it.

        Raises InputError if a folder is a table of Delta Lake or Hudi, whose removed files would be read too.
        """
        # Each with the folders above it, and with its real path if that is another one because of a link.
        pending: list[tuple[bytes, frozenset[tuple[int, int]], bytes | None]]
        pending = [(os.fsencode(folder), frozenset(), real_path_if_linked(os.fsencode(folder), self.real_root))]
        while pending:
            path, above, real = pending.pop()
            try:
                status = os.stat(path)  # noqa: PTH116  (bytes: a name may not be UTF-8)
                here = (status.st_dev, status.st_ino)
                if here in above:
                    self.skipped["(link to a folder above)"] += 1
                    continue
                is_large = status.st_size >= self._large_folder_bytes
                if is_large and real is None and self._list_in_subprocess(path):
                    continue
                with os.scandir(path) as entries:
                    for entry in entries:
                        if self._add_entry(entry, real):
                            check_not_a_table(path, entry.name)
                            if is_hidden_folder(entry.name):
                                self.skipped[f"{to_text(entry.name)}/"] += 1
                            else:
                                pending.append((entry.path, above | {here}, _real_path_below(entry, real)))
            except OSError as error:
                raise StorageError(
                    f"{to_text(path)}: every folder of the input must be readable, but: {error.strerror}; "
                    "grant permission to read it, or name the folders to be scored one by one"
                ) from error

    def _add_entry(self, entry: os.DirEntry[bytes], real: bytes | None) -> bool:
        """Adds a file, or counts what is skipped. Returns whether the entry is a folder.

        real: the real path of the folder that it is in, if that was reached by a link.
        """
        path = entry.path[len(self._root) :]
        if entry.is_file(follow_symlinks=False):  # first, because nearly all entries are
            self.add(path, entry.stat(), named=False)
            if real is not None:
                self.links[path] = os.path.join(real, entry.name)  # noqa: PTH118  (bytes)
        elif _is_dangling(entry):
            self.skipped["(dangling link)"] += 1
        elif entry.is_dir():
            return True
        elif entry.is_file():
            self.add(path, entry.stat(), named=False)
            self.note_link(path)
        else:
            self.skipped["(special file)"] += 1
        return False

    def _list_in_subprocess(self, folder: bytes) -> bool:
        """Adds the files of one folder, listed by a subprocess. Meanwhile, this process can import TensorFlow.

        Returns False if that fails or the folder holds anything but regular files.
        """
        if not has_spare_core():
            return False
        output = read_output(script_command(list_folder.__file__, folder))
        if output is None:
            return False
        count = int(np.frombuffer(output, np.int64, 1)[0])
        sizes, changes = np.frombuffer(output, np.int64, 2 * count, 8).reshape(2, -1)
        names = np.frombuffer(output, np.uint8, offset=8 + 16 * count)
        stops = np.append(np.flatnonzero(names == 0), len(names))[:count] - np.arange(count)
        buffers = [None, pa.py_buffer(np.append(0, stops).astype(np.int32)), pa.py_buffer(names[names != 0])]
        prefix = os.path.join(folder, b"")[len(self._root) :]  # noqa: PTH118  (bytes: a name may not be UTF-8)
        paths = pc.binary_join_element_wise(prefix, pa.BinaryArray.from_buffers(pa.binary(), count, buffers), b"")
        self._batches.append(pa.record_batch([paths, sizes, changes, np.zeros(count, bool)], schema=FILE_SCHEMA))
        return True

    def table(self) -> pa.Table:
        self._flush()
        return pa.Table.from_batches(self._batches, FILE_SCHEMA)

    def finish(self, table: pa.Table, folders: Sequence[Path], arrays: dict[bytes, list[str]]) -> Listing:
        """The listing of the files in `table`. Raises UsageError if a file is in it twice."""
        counts = pc.value_counts(table["path"])
        repeated = counts.filter(pc.greater(counts.field("counts"), 1))
        if len(repeated):
            first = repeated.field("values")[0].as_py()
            raise UsageError(
                f"{to_text(first)}: every file must be given once, {len(repeated)} are given twice: remove one"
            )
        root = Path(os.fsdecode(self._root))
        check_not_iceberg(root, table["path"])
        if self.links:
            table = drop_repeated_links(table, self.links, self.real_root, self.skipped)
        return Listing(root, tuple(folders), table, arrays, self.skipped)

    def _flush(self) -> None:
        self._batches.append(
            pa.record_batch(
                [pa.array(c, f.type) for c, f in zip(self._columns, FILE_SCHEMA, strict=True)], schema=FILE_SCHEMA
            )
        )
        for column in self._columns:
            column.clear()
