"""Which of the files in a folder or archive are images, and how they are listed: as Arrow columns, not as objects.

The rule is the same wherever files lie: an image suffix or an image's magic number makes a row, `.cls` files are
labels, anything else is skipped and counted. Knows names and first bytes only.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from enum import Enum, auto
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mnist_batch.config import AutoLabels, ReadOptions
from mnist_batch.images.header import IMAGE_SUFFIXES, image_format
from mnist_batch.labels import CLASS_SUFFIX, digit_of_class_file, labels_from_class_files, labels_from_folders
from mnist_batch.names import text_of
from mnist_batch.records import Refusal, RejectReason, string_array
from mnist_batch.sources.protocol import suffix_of

# An encoded image is held in memory whole; 64 megapixels of 16-bit RGBA, not compressed at all, are 512 MB.
MAX_ENCODED_BYTES = 512 * 1024 * 1024

# A `.cls` file holds one digit; this many bytes of it are enough to say what else it holds.
CLASS_FILE_BYTES = 64

# What operating systems leave beside people's files.
JUNK_NAME = r"(^|/)(__MACOSX/|\._[^/]*$|\.DS_Store$|Thumbs\.db$|desktop\.ini$)"
IMAGE_NAME = f"({'|'.join(re.escape(suffix) for suffix in IMAGE_SUFFIXES)})$"
_JUNK = re.compile(JUNK_NAME.encode(), re.IGNORECASE)
_IMAGE = re.compile(IMAGE_NAME.encode(), re.IGNORECASE)


class MemberKind(Enum):
    """What a file is to a run."""

    IMAGE = auto()
    CLASS = auto()
    OTHER = auto()


def member_kind(path: bytes, head: Callable[[], bytes]) -> MemberKind:
    """The kind of the file at `path`; its first bytes are only asked for where the name does not tell."""
    if is_junk(path):
        return MemberKind.OTHER
    if _IMAGE.search(path):
        return MemberKind.IMAGE
    if path.endswith(CLASS_SUFFIX.encode()):
        return MemberKind.CLASS
    return MemberKind.IMAGE if image_format(head()) else MemberKind.OTHER


def is_junk(path: bytes) -> bool:
    """Whether the file is one that an operating system leaves beside people's own."""
    return _JUNK.search(path) is not None


def too_large(size: int) -> Refusal | None:
    """Why an encoded image of `size` bytes is not read, or None where it may be."""
    return Refusal(RejectReason.TOO_LARGE, f"{size} bytes encoded") if size > MAX_ENCODED_BYTES else None


def member_labels(paths: pa.Array, class_files: dict[bytes, int]) -> pa.Int8Array:
    """For each path (binary): the digit of its `.cls` file if there is one, else of its parent folder, else null."""
    folders = labels_from_folders(paths)
    if not class_files:
        return folders
    own = labels_from_class_files(paths, class_files)
    return own.fill_null(folders) if folders.null_count < len(folders) else own


def class_file_key(path: bytes) -> bytes:
    """Under which `class_files` holds the `.cls` file at `path`."""
    return path.removesuffix(CLASS_SUFFIX.encode())


def unique_names(paths: list[bytes]) -> pa.StringArray:
    """The names of an archive's members as they stand in ids; the second of the same name gets `#2`, and so on."""
    times: Counter[str] = Counter()
    names: dict[str, None] = {}
    for path in paths:
        name = text = text_of(path)
        while name in names:  # also where a member is itself called `a.png#2`
            times[text] += 1
            name = f"{text}#{times[text] + 1}"
        names[name] = None
    return string_array(names)


class MemberList:
    """Gathers what the members of an archive are to a run, as they are met.

    names: of the images, in order; skipped: the members left alone.
    """

    def __init__(self, archive: Path, options: ReadOptions) -> None:
        self._archive = archive
        self._auto = options.labels is AutoLabels.AUTO
        self._class_files: dict[bytes, int] = {}
        self.names: list[bytes] = []
        self.skipped = Skipped()

    def add(self, name: bytes, head: Callable[[], bytes], text: Callable[[], bytes]) -> bool:
        """Whether the member is an image. head, text: read its first bytes, to tell what it is, and if it is `.cls`."""
        kind = member_kind(name, head)
        if kind is MemberKind.IMAGE:
            self.names.append(name)
        elif kind is MemberKind.OTHER:
            self.skipped.add(name)
        elif self._auto:
            where = f"{self._archive}!{text_of(name)}"
            self._class_files[class_file_key(name)] = digit_of_class_file(text(), where)
        return kind is MemberKind.IMAGE

    def columns(self) -> dict[str, pa.Array]:
        """`name` (string, unique) and `label` (int8 or null) of each image."""
        names = pa.array(self.names, pa.binary())
        labels = member_labels(names, self._class_files) if self._auto else pa.nulls(len(names), pa.int8())
        return {"name": unique_names(self.names), "label": labels}


def ids_and_labels(archive: str, members: pa.Table) -> tuple[pa.StringArray, pa.Int32Array]:
    """Ids `ARCHIVE!MEMBER` and labels of some of an archive's images, listed in columns as of `MemberList`."""
    ids = string_array(f"{archive}!{name}" for name in members["name"].to_pylist())
    return ids, members["label"].combine_chunks().cast(pa.int32())


def matching(paths: pa.BinaryArray, pattern: str) -> npt.NDArray[np.bool_]:
    """For each path, whether the pattern is found in it, in upper or lower case."""
    found = pc.match_substring_regex(paths, pattern, ignore_case=True)
    return np.asarray(found.to_numpy(zero_copy_only=False), bool)


class Skipped(Counter[str]):
    """How many files were left alone, by suffix."""

    def add(self, path: bytes) -> None:
        self[suffix_of(path)] += 1
