"""Which of the files in a folder or archive are images, and how they are listed: as Arrow columns, not as objects.

The rule is the same wherever files lie: an image suffix or an image's magic number makes a row, `.cls` files are
labels, anything else is skipped and counted. Knows names and first bytes only.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from functools import cache, partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mnist_batch.config import AutoLabels, ReadOptions
from mnist_batch.images.header import HEAD_SIZE, IMAGE_SUFFIXES, image_format
from mnist_batch.names import to_text
from mnist_batch.records import ImageError, Ints, RejectReason, string_array, text_array
from mnist_batch.sources.labels import CLASS_SUFFIX, labels_from_class_files, labels_from_folders, parse_class_file
from mnist_batch.sources.protocol import suffix_of

# An encoded image is held in memory whole; 64 megapixels of 16-bit RGBA, not compressed at all, are 512 MB.
MAX_ENCODED_BYTES = 512 * 1024 * 1024

# A `.cls` file holds one digit; this many bytes of it are enough to say what else it holds.
CLASS_FILE_BYTES = 64

# What is read of a member whose name does not say what it is.
PEEKED_BYTES = max(HEAD_SIZE, CLASS_FILE_BYTES)

# Names that are told apart at once.
_AT_A_TIME = 16_384

# What operating systems leave beside people's files.
JUNK_NAME = r"(^|/)(__MACOSX/|\._[^/]*$|\.DS_Store$|Thumbs\.db$|desktop\.ini$)"
IMAGE_NAME = f"({'|'.join(re.escape(suffix) for suffix in IMAGE_SUFFIXES)})$"
_JUNK = re.compile(JUNK_NAME.encode(), re.IGNORECASE)
_IMAGE = re.compile(IMAGE_NAME.encode(), re.IGNORECASE)

# Read at once, at most, where more than one member is.
_TOGETHER_BYTES = 1 << 20
# What may lie between two members, or before one: headers and padding. More is read over and not through.
BETWEEN_BYTES = 4096


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


def check_encoded_size(size: int) -> ImageError | None:
    """Why an encoded image of `size` bytes is not read, or None where it may be."""
    return ImageError(RejectReason.TOO_LARGE, f"{size} bytes encoded") if size > MAX_ENCODED_BYTES else None


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


def make_names_unique(paths: pa.BinaryArray) -> pa.StringArray:
    """The names of an archive's members as they stand in ids; the second of the same name gets `#2`, and so on."""
    texts = text_array(paths)
    if _all_differ(texts) or pc.count_distinct(texts).as_py() == len(texts):
        return texts
    times: Counter[str] = Counter()
    names: dict[str, None] = {}
    for text in texts.to_pylist():
        name = text
        while name in names:  # also where a member is itself called `a.png#2`
            times[text] += 1
            name = f"{text}#{times[text] + 1}"
        names[name] = None
    return string_array(names)


def _all_differ(texts: pa.StringArray) -> bool:
    """Whether no two texts are the same, by numbers made of them; at times False where none are.

    Counting takes 150 bytes a text, which stay with Arrow, and ten times as long.
    """
    _, stops, content = texts.buffers()
    stops = np.frombuffer(stops, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    lengths = np.diff(stops)
    if not lengths.all():
        return False
    letters = np.frombuffer(content, np.uint8)
    weights = np.random.default_rng(0).integers(0, 2**64, lengths.max(initial=0), np.uint64)
    numbers = np.empty(len(texts), np.uint64)
    for first in range(0, len(texts), _AT_A_TIME):
        some = slice(first, first + _AT_A_TIME)
        begins, end = stops[:-1][some], stops[1:][some][-1]
        weight = weights[np.arange(begins[0], end) - np.repeat(begins, lengths[some])]
        numbers[some] = np.add.reduceat((letters[begins[0] : end] + np.uint64(1)) * weight, begins - begins[0])
    numbers.sort()
    return bool((numbers[1:] != numbers[:-1]).all())


@dataclass(frozen=True, slots=True)
class ImageMembers:
    """Those of an archive's members that are images.

    positions: int64 [n], where they stand among all members, ascending; name: string [n], unique; label: int8 [n] or null;
    skipped: the members left alone.
    """

    positions: npt.NDArray[np.int64]
    name: pa.StringArray
    label: pa.Int8Array
    skipped: Skipped

    @property
    def labelled(self) -> bool:
        return self.label.null_count < len(self.label)

    def columns(self, members: pa.Table) -> pa.Table:
        """`name` and `label` of the images, and what else the table of all members says of them."""
        others = members.drop_columns("name").take(self.positions)
        return pa.table([self.name, self.label, *others.columns], names=["name", "label", *others.column_names])


def find_images(
    archive: Path, names: pa.ChunkedArray, first_bytes: Callable[[int], bytes], options: ReadOptions
) -> ImageMembers:
    """Which of the members of these names (binary) are images, and their labels.

    first_bytes: reads the `PEEKED_BYTES` that a member begins with; asked for in order, where a name does not tell.
    Raises InputError where a `.cls` file states no digit.
    """
    paths = names.combine_chunks()
    is_image = match_pattern(paths, IMAGE_NAME) & ~match_pattern(paths, JUNK_NAME)
    auto, class_files, skipped = options.labels is AutoLabels.AUTO, dict[bytes, int](), Skipped()
    for position in np.flatnonzero(~is_image).tolist():
        name, begins = paths[position].as_py(), cache(partial(first_bytes, position))
        match member_kind(name, begins):
            case MemberKind.IMAGE:
                is_image[position] = True
            case MemberKind.CLASS if auto:
                where = f"{archive}!{to_text(name)}"
                class_files[class_file_key(name)] = parse_class_file(begins()[:CLASS_FILE_BYTES], where)
            case MemberKind.OTHER:
                skipped.add(name)
    kept = paths.filter(pa.array(is_image))
    labels = member_labels(kept, class_files) if auto else pa.nulls(len(kept), pa.int8())
    return ImageMembers(np.flatnonzero(is_image), make_names_unique(kept), labels, skipped)


def ids_and_labels(archive: str, members: pa.Table) -> tuple[pa.StringArray, pa.Int32Array]:
    """Ids `ARCHIVE!MEMBER` and labels of some of an archive's images; members: `name` and `label`, as in `ImageMembers`."""
    ids = pc.binary_join_element_wise(f"{archive}!", members["name"].combine_chunks(), "")
    return ids, members["label"].combine_chunks().cast(pa.int32())


def match_pattern(paths: pa.BinaryArray, pattern: str) -> npt.NDArray[np.bool_]:
    """For each path, whether the pattern is found in it, in upper or lower case."""
    found = pc.match_substring_regex(paths, pattern, ignore_case=True)
    return np.asarray(found.to_numpy(zero_copy_only=False), bool)


class Skipped(Counter[str]):
    """How many files were left alone, by suffix."""

    def add(self, path: bytes) -> None:
        self[suffix_of(path)] += 1


def contiguous_runs(offsets: Ints, sizes: Ints) -> Iterator[tuple[int, int]]:
    """Cuts members, in the order given, into runs `(first, stop)` that are to be read at once.

    offsets, sizes: int64 [n], where each begins and how long it is. One that is longer than any run is alone.
    """
    stops = offsets + np.minimum(sizes, _TOGETHER_BYTES)
    between = offsets[1:] - stops[:-1]
    large = sizes > _TOGETHER_BYTES
    apart = (between < 0) | (between > BETWEEN_BYTES) | large[1:] | large[:-1]
    for begins, ends in pairwise([0, *(np.flatnonzero(apart) + 1).tolist(), len(offsets)]):
        first = begins
        while first < ends:
            fitting = np.searchsorted(stops[first:ends], offsets[first] + _TOGETHER_BYTES, side="right")
            yield first, first + int(fitting)
            first += int(fitting)
