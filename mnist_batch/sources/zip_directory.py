"""Where the members of a zip lie, from its directory: by a short reader of our own, else by `zipfile`.

Ours takes directories that end the file without a comment, with or without zip64's record of their size, and gives up
at whatever is unusual or damaged: then `zipfile` reads the directory, and says what is wrong with it. Follows PKWARE's
APPNOTE 6.3.10, sections 4.3.12 to 4.3.16. Measured: 1.5 microseconds a member instead of 6.
"""

from __future__ import annotations

import os
import struct
import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

_ENCRYPTED, _UTF8_NAME = 0x1, 0x800
# Sizes and offsets are what a directory claims, up to 2**64; none beyond this is ever read.
_ANYTHING = 2**62
_END = struct.Struct("<4s4H2LH")
_ZIP64_LOCATOR = struct.Struct("<4sLQL")
_ZIP64_END = struct.Struct("<4sQ2H2L4Q")
_LENGTHS = struct.Struct("<3H")  # of a member's name, extra field and comment
_MEMBER = np.dtype(
    {
        "names": ["signature", "flags", "method", "checksum", "packed", "size", "disk", "offset"],
        "formats": ["<u4", "<u2", "<u2", "<u4", "<u4", "<u4", "<u2", "<u4"],
        "offsets": [0, 8, 10, 16, 20, 24, 34, 42],
        "itemsize": 46,
    }
)
_SIGNATURE = int.from_bytes(b"PK\1\2", "little")
_IN_ZIP64 = 0xFFFF_FFFF
# Members held as Python objects before they become an Arrow batch.
_AT_A_TIME = 65_536

# name: its bytes; offset: where the local header begins; method: how it is compressed.
MEMBERS = pa.schema(
    {
        "name": pa.binary(),
        "offset": pa.int64(),
        "packed": pa.int64(),
        "size": pa.int64(),
        "checksum": pa.uint32(),
        "method": pa.int32(),
        "encrypted": pa.bool_(),
    }
)


def list_members(path: Path) -> pa.Table:
    """All members but folders, in the directory's order, columns as in `MEMBERS`.

    Raises what `zipfile` raises where the directory is damaged.
    """
    members = _plain(path)
    return _any(path) if members is None else members


def _plain(path: Path) -> pa.Table | None:
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        around = _END.size + _ZIP64_LOCATOR.size + _ZIP64_END.size
        file.seek(max(0, size - around))
        bounds = _directory(file.read(around), size)
        if bounds is None:
            return None
        count, first, stop = bounds
        if count * _MEMBER.itemsize > stop - first:
            return None
        file.seek(first)
        directory = file.read(stop - first)
    batches: list[pa.RecordBatch] = []
    names, places, at = list[bytes](), list[int](), 0
    for number in range(1, count + 1):
        places.append(at)
        at += _MEMBER.itemsize
        if at > len(directory):
            return None
        name_size, extra, comment = _LENGTHS.unpack_from(directory, at - 18)
        names.append(directory[at : at + name_size])
        at += name_size + extra + comment
        if len(places) == _AT_A_TIME or number == count:
            batch = _batch(np.frombuffer(directory, np.uint8), np.array(places), names)
            if batch is None:
                return None
            batches.append(batch)
            names, places = [], []
    return pa.Table.from_batches(batches, MEMBERS) if at == len(directory) else None


def _batch(
    directory: npt.NDArray[np.uint8], places: npt.NDArray[np.int64], names: list[bytes]
) -> pa.RecordBatch | None:
    """Members by the place of their entry in the directory; None where one is out of the ordinary."""
    entries = directory[places[:, None] + np.arange(_MEMBER.itemsize)].reshape(-1).view(_MEMBER)
    usual = (entries["signature"] == _SIGNATURE) & (entries["disk"] == 0)
    for column in ("packed", "size", "offset"):
        usual &= entries[column] != _IN_ZIP64
    if not usual.all():
        return None
    in_utf8 = (entries["flags"] & _UTF8_NAME) > 0
    for place, name in enumerate(names):
        if not name.isascii() and in_utf8[place] and not _is_utf8(name):
            return None
        if 0 in name:
            return None
        if b"\\" in name and not in_utf8[place]:
            names[place] = name.replace(b"\\", b"/")
    columns = [pa.array(entries[field.name].astype(field.type.to_pandas_dtype())) for field in list(MEMBERS)[1:-1]]
    encrypted = pa.array((entries["flags"] & _ENCRYPTED) > 0)
    batch = pa.record_batch([pa.array(names, pa.binary()), *columns, encrypted], schema=MEMBERS)
    return batch.filter(pa.array([not name.endswith(b"/") for name in names]))


def _directory(tail: bytes, size: int) -> tuple[int, int, int] | None:
    """How many members a zip's directory holds, where it begins and where it stops; None where that is not plain.

    tail: the last bytes of a file of that size.
    """
    if len(tail) < _END.size or tail[-_END.size :][:4] != b"PK\5\6":
        return None
    _, disk, first_disk, here, count, length, first, comment = _END.unpack(tail[-_END.size :])
    stop = size - _END.size
    if 0xFFFF in (here, count) or _IN_ZIP64 in (length, first):
        before = tail[: -_END.size]
        if len(before) != _ZIP64_LOCATOR.size + _ZIP64_END.size or before[-_ZIP64_LOCATOR.size :][:4] != b"PK\6\7":
            return None
        signature, _, _, _, disk, first_disk, here, count, length, first = _ZIP64_END.unpack(before[: _ZIP64_END.size])
        stop -= len(before)
        if signature != b"PK\6\6":
            return None
    plain = not (disk or first_disk or comment) and here == count and first + length == stop
    return (count, first, stop) if plain else None


def _is_utf8(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True


def _any(path: Path) -> pa.Table:
    with zipfile.ZipFile(path) as archive:
        # `is_dir` fails where there is no name at all.
        members = [info for info in archive.infolist() if not info.filename.endswith("/")]
    columns = [
        [raw_name(info) for info in members],
        [min(info.header_offset, _ANYTHING) for info in members],
        [min(info.compress_size, _ANYTHING) for info in members],
        [min(info.file_size, _ANYTHING) for info in members],
        [info.CRC for info in members],
        [info.compress_type for info in members],
        [bool(info.flag_bits & _ENCRYPTED) for info in members],
    ]
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, MEMBERS, strict=True)], schema=MEMBERS)


def raw_name(info: zipfile.ZipInfo) -> bytes:
    """A member's name as bytes. A name not marked as UTF-8 was decoded from code page 437, though most are UTF-8."""
    if info.flag_bits & _UTF8_NAME:
        return info.filename.encode("utf-8", "surrogateescape")
    return info.orig_filename.replace("\\", "/").encode("cp437", "replace")
