"""The table of container formats. A new format is a new module in this package and one line in `FORMATS`.

Formats are recognized by their first bytes, never by a name.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mnist_batch.config import ReadOptions
from mnist_batch.sources import idx, npz, parquet
from mnist_batch.sources.protocol import Source
from mnist_batch.sources.tar.reader import open_tar
from mnist_batch.sources.zip.reader import open_zip

# Takes the file, the root of all inputs, and the options.
_OpenFunction = Callable[[Path, Path, ReadOptions], Sequence[Source]]


@dataclass(frozen=True, slots=True)
class Format:
    """A container format.

    matches: whether a file has this format, by its first bytes (inflated if it is gzip).
    suffixes: the usual endings of its file names.
    """

    name: str
    matches: Callable[[bytes], bool]
    open: _OpenFunction
    suffixes: tuple[str, ...]


def _is_tar(head: bytes) -> bool:
    """POSIX.1-1988 and GNU tars have `ustar` at offset 257. Older ones are recognized by the header's checksum."""
    if head[257:262] == b"ustar":
        return True
    field = head[148:156].strip(b" \0")
    if len(head) < 512 or not field or not all(b in b"01234567" for b in field) or not head[0]:
        return False
    return int(field, 8) == sum(head[:148]) + 8 * 32 + sum(head[156:512])


def is_npz(head: bytes) -> bool:
    """Whether a file that begins with `head` is a zip whose first member is a NumPy array."""
    if not head.startswith(b"PK\3\4") or len(head) < 30:
        return False
    (size,) = struct.unpack_from("<H", head, 26)
    return head[30 : 30 + size].endswith(b".npy")


FORMATS = (
    Format(
        "idx of images (00 00 08 03)",
        lambda head: head.startswith(idx.IMAGES_MAGIC),
        idx.open_idx,
        ("idx3-ubyte", "idx3-ubyte.gz"),
    ),
    Format("npz", is_npz, npz.open_npz, (".npz",)),
    Format("zip", lambda head: head.startswith((b"PK\3\4", b"PK\5\6")), open_zip, (".zip",)),
    Format("tar", _is_tar, open_tar, (".tar", ".tar.gz", ".tgz")),
    Format("parquet", lambda head: head.startswith(b"PAR1"), parquet.open_parquet, (".parquet",)),
)
