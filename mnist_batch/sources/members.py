"""Decides which files of a folder or an archive are images, and holds them as Arrow columns.

The rule is the same everywhere: a file with an image suffix or an image's magic number is a row, a `.cls` file is a
label, and any other file may be a container of images. The rest is skipped and counted. Only names and first bytes are
used.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from mnist_batch.hashing import hash_texts
from mnist_batch.images.header import IMAGE_SUFFIXES, image_format
from mnist_batch.names import to_text
from mnist_batch.records import ImageError, Ints, RejectReason, string_array, text_array
from mnist_batch.signatures import find_signature
from mnist_batch.sources.archive_member import ArchiveMember
from mnist_batch.sources.folder_labels import FolderLabels, labels_from_folders
from mnist_batch.sources.labels import CLASS_SUFFIX, labels_from_class_files, parse_class_file
from mnist_batch.sources.protocol import Reader, SourceDefaults, suffix_of

# An encoded image is held in memory as a whole. 64 megapixels of uncompressed 16-bit RGBA are 512 MB.
MAX_ENCODED_BYTES = 512 * 1024 * 1024

# A `.cls` file holds one digit. This many bytes are enough for the error if it holds something else.
CLASS_FILE_BYTES = 64

# Files that people do not see: hidden ones, those that operating systems create, and unfinished or backup copies.
JUNK_NAME = (
    r"(^|/)(\.[^/]*|Thumbs\.db|desktop\.ini"
    r"|[^/]*(~|\.(part|partial|filepart|tmp|temp|crdownload|download|swp|bak|orig|old)))$"
)
# Folders that begin with `_` or `.` are not data for Spark and Arrow: `_temporary`, `.thumbnails`, `__MACOSX`.
# Synology keeps thumbnails in `@eaDir`.
_HIDDEN_FOLDER = r"_[^/]*|\.[^/.][^/]*|@eaDir"
_JUNK_MEMBER = f"{JUNK_NAME}|(^|/)({_HIDDEN_FOLDER})/"
IMAGE_NAME = f"({'|'.join(re.escape(suffix) for suffix in IMAGE_SUFFIXES)})$"
_JUNK = re.compile(JUNK_NAME.encode(), re.IGNORECASE)
_HIDDEN = re.compile(_HIDDEN_FOLDER.encode())
_IMAGE = re.compile(IMAGE_NAME.encode(), re.IGNORECASE)

# The most that is read at once if it is more than one member.
_MAX_RUN_BYTES = 1 << 20
# The largest gap between two members of a run, or before a member's data: headers and padding. A longer gap is skipped
# with a seek, not read.
MAX_GAP_BYTES = 4096


# Whether a member may be a container of images, by its name and its first `MAX_HEAD_BYTES`.
MayBeContainer = Callable[[bytes, bytes], bool]


class MemberKind(Enum):
    """What a file or an archive member is used for."""

    IMAGE = auto()
    CLASS = auto()
    OTHER = auto()


def member_kind(path: bytes, head: Callable[[], bytes]) -> MemberKind:
    """The kind of the file at `path`. `head` returns its first bytes; it is only called if the name is not enough."""
    if is_junk(path):
        return MemberKind.OTHER
    if _IMAGE.search(path):
        return MemberKind.IMAGE
    if path.endswith(CLASS_SUFFIX.encode()):
        return MemberKind.CLASS
    start = head()
    if image_format(start) is not None:
        return MemberKind.IMAGE
    signature = find_signature(start)
    return MemberKind.IMAGE if signature is not None and signature.is_image else MemberKind.OTHER


def is_junk(path: bytes) -> bool:
    """Whether the file is one that people do not see, by its own name."""
    return _JUNK.search(path) is not None


def is_hidden_folder(name: bytes) -> bool:
    """Whether a folder below an input is not read, by its own name."""
    return _HIDDEN.fullmatch(name) is not None


def check_encoded_size(size: int) -> ImageError | None:
    """The error for an encoded image of `size` bytes if that is too large to read, otherwise None."""
    return ImageError(RejectReason.TOO_LARGE, f"{size} bytes encoded") if size > MAX_ENCODED_BYTES else None


def member_labels(paths: pa.Array, class_files: dict[bytes, int], where: str, above: str = "") -> FolderLabels:
    """For each path (binary): the digit of its `.cls` file if there is one, else of its parent folder, else null.

    where, above: as in `labels_from_folders`.
    """
    folders = labels_from_folders(paths, where, above)
    if not class_files:
        return folders
    own = labels_from_class_files(paths, class_files)
    return FolderLabels(own.fill_null(folders.digits) if own.null_count else own, folders.warnings)


def class_file_key(path: bytes) -> bytes:
    """The key of the `.cls` file at `path` in `class_files`."""
    return path.removesuffix(CLASS_SUFFIX.encode())


def make_names_unique(paths: pa.BinaryArray) -> pa.StringArray:
    """The names of an archive's members as used in ids. The second member of a name gets `#2`, the third `#3`."""
    texts = text_array(paths)
    hashes = np.sort(hash_texts(texts))
    if (hashes[1:] != hashes[:-1]).all():
        return texts
    repeats: Counter[str] = Counter()
    names: dict[str, None] = {}
    for text in texts.to_pylist():
        name = text
        while name in names:  # a loop, because another member may itself be called `a.png#2`
            repeats[text] += 1
            name = f"{text}#{repeats[text] + 1}"
        names[name] = None
    return string_array(names)


@dataclass(frozen=True, slots=True)
class ImageMembers:
    """The members of an archive that are images.

    positions: int64 [n], their positions among all members, ascending.
    name: string [n], unique.
    label: int8 [n] or null.
    containers: int64, the positions of the members that may be containers of images.
    skipped: how many members were skipped, by suffix.
    warnings: about the labels, one line each.
    """

    positions: npt.NDArray[np.int64]
    name: pa.StringArray
    label: pa.Int8Array
    containers: Ints
    skipped: Skipped
    warnings: Sequence[str]

    @property
    def labelled(self) -> bool:
        return self.label.null_count < len(self.label)

    def to_table(self, members: pa.Table) -> pa.Table:
        """The images' `name` and `label`, and the other columns of `members`, which is the table of all members."""
        others = members.drop_columns("name").take(self.positions)
        return pa.table([self.name, self.label, *others.columns], names=["name", "label", *others.column_names])


@dataclass(frozen=True, slots=True, repr=False)
class ArchiveSource(SourceDefaults):
    """The images of one archive.

    members: where each image is; its first columns are `name` and `label`, as in `ImageMembers`.
    containers: the members that may be containers of images. They become sources of their own.
    skipped: how many members were skipped, by suffix or kind.
    warnings: about the labels, one line each.
    """

    path: Path
    name: str
    members: pa.Table
    labelled: bool
    containers: Sequence[ArchiveMember]
    skipped: Mapping[str, int]
    warnings: Sequence[str]
    format: str

    @property
    def rows(self) -> int:
        return self.members.num_rows

    def open(self) -> Reader:
        raise NotImplementedError

    @property
    def numbered(self) -> bool:
        return False

    def list_names(self) -> pa.StringArray:
        return ids_and_labels(self.name, self.members)[0]

    def count_skipped(self) -> Mapping[str, int]:
        return self.skipped

    def list_warnings(self) -> Sequence[str]:
        return self.warnings


def find_images(
    archive: Path,
    names: pa.ChunkedArray,
    first_bytes: Callable[[int], bytes],
    options: ReadOptions,
    may_be_container: MayBeContainer,
) -> ImageMembers:
    """Finds the images among an archive's members, and their labels.

    names: the names of all members (binary).
    first_bytes: reads the first `MAX_HEAD_BYTES` of the member at a position. Called in order, if a name is not enough.
    Raises InputError if a `.cls` file does not hold a digit.
    """
    paths = names.combine_chunks()
    hidden = match_pattern(paths, _JUNK_MEMBER)
    is_image = match_pattern(paths, IMAGE_NAME) & ~hidden
    auto, class_files, skipped = options.labels is AutoLabels.AUTO, dict[bytes, int](), Skipped()
    containers: list[int] = []
    for position in np.flatnonzero(~is_image).tolist():
        name, head = paths[position].as_py(), cache(partial(first_bytes, position))
        if hidden[position]:
            skipped.add(name)
            continue
        match member_kind(name, head):
            case MemberKind.IMAGE:
                is_image[position] = True
            case MemberKind.CLASS if auto:
                where = f"{archive}!{to_text(name)}"
                class_files[class_file_key(name)] = parse_class_file(head()[:CLASS_FILE_BYTES], where)
            case MemberKind.OTHER if may_be_container(name, head()):
                containers.append(position)
            case MemberKind.OTHER:
                skipped.add(name)
    image_paths = paths.filter(pa.array(is_image))
    labels = FolderLabels(pa.nulls(len(image_paths), pa.int8()), [])
    if auto:
        labels = member_labels(image_paths, class_files, str(archive))
    names_in_ids = make_names_unique(image_paths)
    positions = np.array(containers, np.int64)
    return ImageMembers(np.flatnonzero(is_image), names_in_ids, labels.digits, positions, skipped, labels.warnings)


def ids_and_labels(archive: str, members: pa.Table) -> tuple[pa.StringArray, pa.Int32Array]:
    """The ids `ARCHIVE!MEMBER` and the labels of some images of an archive.

    members: a table with the columns `name` and `label`, as in `ImageMembers`.
    """
    ids = pc.binary_join_element_wise(f"{archive}!", members["name"].combine_chunks(), "")
    return ids, members["label"].combine_chunks().cast(pa.int32())


def match_pattern(paths: pa.BinaryArray, pattern: str) -> npt.NDArray[np.bool_]:
    """For each path, whether it contains a match of the regular expression, ignoring case."""
    matches = pc.match_substring_regex(paths, pattern, ignore_case=True)
    return np.asarray(matches.to_numpy(zero_copy_only=False), bool)


class Skipped(Counter[str]):
    """How many files were skipped, by suffix."""

    def add(self, path: bytes) -> None:
        self[suffix_of(path)] += 1


def contiguous_runs(offsets: Ints, sizes: Ints) -> Iterator[tuple[int, int]]:
    """Groups members, in the order given, into runs `(first, stop)` that are read at once.

    offsets, sizes: int64 [n], the offset and size of each member. A member larger than the limit is read alone.
    """
    stops = offsets + np.minimum(sizes, _MAX_RUN_BYTES)
    gaps = offsets[1:] - stops[:-1]
    large = sizes > _MAX_RUN_BYTES
    separate = (gaps < 0) | (gaps > MAX_GAP_BYTES) | large[1:] | large[:-1]
    for start, end in pairwise([0, *(np.flatnonzero(separate) + 1).tolist(), len(offsets)]):
        first = start
        while first < end:
            fitting = np.searchsorted(stops[first:end], offsets[first] + _MAX_RUN_BYTES, side="right")
            yield first, first + int(fitting)
            first += int(fitting)
