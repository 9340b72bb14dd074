"""The table of container formats. A new format is a new module in this package and an entry of `FORMATS`.

Formats are recognized by their first bytes, never by a name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mnist_batch.sources import csv, idx, npy, npz, parquet
from mnist_batch.sources.head import Head
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
        lambda head: npz.is_npz(head.content()),
        npz.open_npz,
        (".npz",),
        options=frozenset(("pixel_range",)),
        has_arrays=True,
    ),
    Format("zip", "a zip", lambda head: head.content().startswith((b"PK\3\4", b"PK\5\6")), open_zip, (".zip",)),
    Format("tar", "a tar", lambda head: is_tar(head.content()), open_tar, (".tar", ".tar.gz", ".tgz")),
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


def list_titles(option: str | None = None) -> str:
    """The formats, or those that an option applies to, for a message: "an npz or a Parquet file"."""
    titles = [f.title for f in FORMATS if not f.is_sidecar and (option is None or option in f.options)]
    return f"{', '.join(titles[:-1])} or {titles[-1]}" if len(titles) > 1 else "".join(titles)
