"""The table of container formats. A new format is a new module in this package and an entry of `FORMATS`.

Formats are recognized by their first bytes, never by a name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mnist_batch.names import to_text
from mnist_batch.sources import csv, idx, npy, npz, parquet
from mnist_batch.sources.head import Head
from mnist_batch.sources.labels_beside import is_label_table
from mnist_batch.sources.protocol import Container, Source
from mnist_batch.sources.tar.headers import is_tar
from mnist_batch.sources.tar.reader import open_tar
from mnist_batch.sources.zip.reader import open_zip

# The fields of `ReadOptions` that name columns.
_COLUMN_OPTIONS = frozenset(("image_column", "label_column", "id_column", "keep"))


@dataclass(frozen=True, slots=True)
class Format:
    """A container format.

    name: in counts of skipped files.
    title: in messages, with an article.
    matches: whether a file has this format, by its first bytes.
    open: returns the sources in a file, none if it holds no rows.
    suffixes: the usual endings of its file names.
    options: the fields of `ReadOptions` that have a meaning for it, besides those that apply to all.
    has_arrays: whether `FILE:ARRAY` names a part of such a file.
    rowless_names: the names of files of this format that hold no rows.
    is_sidecar: whether such a file only accompanies another one.
    is_archive: whether it holds files. Its members may be of any format that is not an archive.
    """

    name: str
    title: str
    matches: Callable[[Head], bool]
    open: Callable[[Container], Sequence[Source]]
    suffixes: tuple[str, ...] = ()
    options: frozenset[str] = frozenset()
    has_arrays: bool = False
    rowless_names: frozenset[bytes] = frozenset()
    is_sidecar: bool = False
    is_archive: bool = False


def _open_zip(container: Container) -> Sequence[Source]:
    return open_zip(container, may_be_container)


def _open_tar(container: Container) -> Sequence[Source]:
    return open_tar(container, may_be_container)


# The first that matches is taken.
FORMATS = (
    Format(
        "idx",
        "an idx file of images (00 00 08 03)",
        lambda head: idx.is_images(head.content()),
        idx.open_idx,
        ("idx3-ubyte", "idx3-ubyte.gz", "idx4-ubyte", "idx4-ubyte.gz"),
    ),
    Format(
        "idx labels",
        "an idx file of labels",
        lambda head: idx.is_labels(head.content()),
        idx.open_labels,
        is_sidecar=True,
    ),
    Format(
        "npy labels",
        "a NumPy array of labels",
        lambda head: npy.is_labels(head.content()),
        npy.open_labels,
        is_sidecar=True,
    ),
    Format(
        "npy",
        "a NumPy array",
        lambda head: head.stored().startswith(npy.MAGIC),
        npy.open_npy,
        (".npy",),
        options=frozenset(("pixel_range",)),
    ),
    Format(
        "npz",
        "an npz",
        npz.is_npz,
        npz.open_npz,
        (".npz",),
        options=frozenset(("pixel_range",)),
        has_arrays=True,
    ),
    Format(
        "zip",
        "a zip",
        lambda head: head.content().startswith((b"PK\3\4", b"PK\5\6")),
        _open_zip,
        (".zip",),
        is_archive=True,
    ),
    Format(
        "tar", "a tar", lambda head: is_tar(head.content()), _open_tar, (".tar", ".tar.gz", ".tgz"), is_archive=True
    ),
    Format(
        "parquet",
        "a Parquet file",
        lambda head: head.content().startswith(b"PAR1"),
        parquet.open_parquet,
        (".parquet",),
        options=_COLUMN_OPTIONS | {"pixel_range"},
        rowless_names=parquet.SUMMARIES,
    ),
    Format("csv", "a CSV file of pixels", csv.is_pixel_table, csv.open_csv, options=_COLUMN_OPTIONS | {"pixel_range"}),
)


def find_format(head: Head) -> Format | None:
    """Returns the format of a file, None if it has none of them."""
    return next((format for format in FORMATS if format.matches(head)), None)


def find_format_of_name(name: str) -> Format | None:
    """Returns the format that a file should have by its name, None if the name says nothing."""
    return next((format for format in FORMATS if format.suffixes and name.endswith(format.suffixes)), None)


def may_be_container(path: bytes, start: bytes) -> bool:
    """Whether a member of an archive is opened as a file of its own. start: its first `MAX_HEAD_BYTES`."""
    name = to_text(path)
    format = find_format(Head(start)) or find_format_of_name(name)
    if format is None or not start:  # it is empty, or cannot be read
        return bool(start) and is_label_table(name.rpartition("/")[2])
    return not format.is_archive


def list_titles(option: str | None = None) -> str:
    """The formats, or those that an option applies to, for a message: "an npz or a Parquet file"."""
    titles = [f.title for f in FORMATS if not f.is_sidecar and (option is None or option in f.options)]
    return f"{', '.join(titles[:-1])} or {titles[-1]}" if len(titles) > 1 else "".join(titles)
