"""Lists the members of a zip from its central directory: with a fast reader of our own, otherwise with `zipfile`.

The fast reader takes directories at the very end of the file (so without an archive comment), with or without the zip64
end record. It gives up on anything unusual or damaged. `zipfile` then reads the directory, and says what is wrong with
it. Follows PKWARE's APPNOTE 6.3.10, sections 4.3.12 to 4.3.16. Measured: 0.4 microseconds per member instead of 6.
"""

from __future__ import annotations

import os
import struct
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mnist_batch.records import Ints, Pixels
from mnist_batch.sources.protocol import open_file

_ENCRYPTED, _UTF8_NAME = 0x1, 0x800
# A directory can claim sizes and offsets up to 2**64. They are limited to this, which is more than is ever read.
_MAX_CLAIM = 2**62
_END = struct.Struct("<4s4H2LH")
_ZIP64_LOCATOR = struct.Struct("<4sLQL")
_ZIP64_END = struct.Struct("<4sQ2H2L4Q")
# A member's entry in the directory.
_ENTRY = np.dtype(
    {
        # name, extra and comment are lengths.
        "names": [
            "signature",
            "flags",
            "method",
            "checksum",
            "packed",
            "size",
            "name",
            "extra",
            "comment",
            "disk",
            "offset",
        ],
        "formats": ["<u4", "<u2", "<u2", "<u4", "<u4", "<u4", "<u2", "<u2", "<u2", "<u2", "<u4"],
        "offsets": [0, 8, 10, 16, 20, 24, 28, 30, 32, 34, 42],
        "itemsize": 46,
    }
)
_ENTRY_SIGNATURE = int.from_bytes(b"PK\1\2", "little")
# The header before a member's data. name and extra are the lengths of these fields, which are between it and the data.
LOCAL_HEADER = np.dtype(
    {"names": ["signature", "name", "extra"], "formats": ["<u4", "<u2", "<u2"], "offsets": [0, 26, 28], "itemsize": 30}
)
LOCAL_SIGNATURE = int.from_bytes(b"PK\3\4", "little")
_IN_ZIP64 = 0xFFFF_FFFF
# Between two members may be the extra fields of a local header and a data descriptor. Up to the first of these numbers
# of bytes they are not looked at; more than the second they cannot have.
_USUAL_GAP, _LARGEST_GAP = 128, 0x1_0000 + 24
# How much of the directory is read at a time; more than any entry has.
_CHUNK_BYTES = 1 << 18

# name: as bytes; offset: of the local header; packed, size: bytes, compressed and not; method: of compression.
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
    """Lists all members except folders, in the directory's order, with the columns of `MEMBERS`.

    Raises what `zipfile` raises if the directory is damaged or does not list everything in the file.
    """
    members = list_plain(path)
    if members is None:
        members = list_any(path)
    return members.filter(pc.invert(pc.ends_with(members["name"], "/")))


def check_all_listed(file: IO[bytes], archive: zipfile.ZipFile) -> None:
    """Raises BadZipFile if the directory of an open zip does not list everything in the file.

    That is so if two zips were joined, and if something was written after the end of a zip.
    """
    end = file.seek(0, os.SEEK_END) - _END.size - len(archive.comment)
    file.seek(max(0, end))
    record = file.read(_END.size)
    if not record.startswith(b"PK\5\6"):
        raise zipfile.BadZipFile("something follows its end")
    count, members = _END.unpack(record)[4], archive.infolist()
    if count not in (0xFFFF, len(members)):
        raise zipfile.BadZipFile(f"its directory has {len(members)} entries instead of {count}")
    starts = np.array([info.header_offset for info in members], np.float64)
    sizes = [LOCAL_HEADER.itemsize + len(info.orig_filename) + info.compress_size for info in members]
    _check_gaps(file, starts, starts + np.array(sizes, np.float64), archive.start_dir)


def _check_gaps(file: IO[bytes], starts: npt.NDArray[Any], ends: npt.NDArray[Any], directory: int) -> None:
    """Raises BadZipFile if there is another member between those in the directory.

    starts, ends: the offset of each member, and where it ends at the earliest. directory: the offset of the directory.
    A member that is outside of the file becomes a reject, and leaves a gap where it should be.
    """
    if (ends > directory).any():
        return
    order = np.argsort(starts, kind="stable")
    before, after = np.append(0, np.maximum.accumulate(ends[order])), np.append(starts[order], directory)
    for position in np.flatnonzero(after - before > _USUAL_GAP).tolist():
        first, stop = int(before[position]), int(after[position])
        file.seek(first)
        if stop - first > _LARGEST_GAP or b"PK\3\4" in file.read(stop - first):
            raise zipfile.BadZipFile(f"its directory lists no member for {stop - first} bytes at offset {first}")


def seek_data(file: IO[bytes], offset: int) -> bool:
    """Seeks to a member's data, past its local header at `offset`. Returns False if there is no local header.

    Raises what seeking to that offset raises.
    """
    file.seek(offset)
    header = file.read(LOCAL_HEADER.itemsize)
    if len(header) < LOCAL_HEADER.itemsize:
        return False
    signature, *lengths = np.frombuffer(header, LOCAL_HEADER)[0].item()
    if signature != LOCAL_SIGNATURE:
        return False
    file.seek(sum(lengths), os.SEEK_CUR)
    return True


def list_plain(path: Path, chunk_bytes: int = _CHUNK_BYTES) -> pa.Table | None:
    """Lists a zip with a plain directory, with its folders. Returns None if the directory is unusual or damaged.

    Raises BadZipFile if there are other members in the file.

    chunk_bytes: how much of the directory is read at a time.
    """
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        tail_bytes = _END.size + _ZIP64_LOCATOR.size + _ZIP64_END.size
        file.seek(max(0, size - tail_bytes))
        directory_bounds = _find_directory(file.read(tail_bytes), size)
        if directory_bounds is None:
            return None
        count, first, stop = directory_bounds
        if count * _ENTRY.itemsize > stop - first:
            return None
        file.seek(first)
        batches: list[pa.RecordBatch] = []
        content = b""
        while content or file.tell() < stop:
            content += file.read(min(chunk_bytes, stop - file.tell()))
            directory = np.frombuffer(content, np.uint8)
            positions, entries = _parse_entries(directory)
            batch = _build_batch(directory, positions, entries) if len(positions) else None
            if batch is None:
                return None
            batches.append(batch)
            count -= len(positions)
            content = content[_entry_ends(positions[-1:], entries[-1:])[0] :]
        if count:
            return None
        members = pa.Table.from_batches(batches, MEMBERS)
        starts = members["offset"].to_numpy()
        lengths = pc.binary_length(members["name"]).to_numpy().astype(np.int64)
        _check_gaps(file, starts, starts + LOCAL_HEADER.itemsize + lengths + members["packed"].to_numpy(), first)
    return members


def _parse_entries(directory: Pixels) -> tuple[Ints, npt.NDArray[np.void]]:
    """The positions of the complete entries in a piece of a directory, and the entries, as `_ENTRY`.

    Returns no entries if they do not follow each other directly.
    """
    candidates = np.flatnonzero(directory[: 1 - _ENTRY.itemsize] == ord("P"))
    entries = directory[candidates[:, None] + np.arange(_ENTRY.itemsize)].view(_ENTRY)[:, 0]
    signed = entries["signature"] == _ENTRY_SIGNATURE
    complete = signed & (_entry_ends(candidates, entries) <= len(directory))
    positions, entries = candidates[complete], entries[complete]
    expected_positions = np.append(0, _entry_ends(positions, entries))[:-1]
    return (positions, entries) if np.array_equal(positions, expected_positions) else (positions[:0], entries[:0])


def _entry_ends(positions: Ints, entries: npt.NDArray[np.void]) -> Ints:
    return positions + _ENTRY.itemsize + entries["name"] + entries["extra"] + entries["comment"]


def _build_batch(directory: Pixels, positions: Ints, entries: npt.NDArray[np.void]) -> pa.RecordBatch | None:
    """The members of these directory entries. None if an entry is unusual."""
    plain = entries["disk"] == 0
    for column in ("packed", "size", "offset"):
        plain &= entries[column] != _IN_ZIP64
    if not plain.all():
        return None
    lengths = entries["name"].astype(np.int32)
    stops = np.append(np.int32(0), np.cumsum(lengths, dtype=np.int32))
    letters = directory[np.arange(stops[-1]) + np.repeat(positions + _ENTRY.itemsize - stops[:-1], lengths)]
    in_utf8 = (entries["flags"] & _UTF8_NAME) > 0
    letters[(letters == ord("\\")) & ~np.repeat(in_utf8, lengths)] = ord("/")
    names = pa.BinaryArray.from_buffers(pa.binary(), len(positions), [None, pa.py_buffer(stops), pa.py_buffer(letters)])
    if not letters.all() or not _all_utf8(names.filter(pa.array(in_utf8))):
        return None
    columns = [pa.array(entries[field.name].astype(field.type.to_pandas_dtype())) for field in list(MEMBERS)[1:-1]]
    encrypted = pa.array((entries["flags"] & _ENCRYPTED) > 0)
    return pa.record_batch([names, *columns, encrypted], schema=MEMBERS)


def _find_directory(tail: bytes, size: int) -> tuple[int, int, int] | None:
    """The number of members in a zip's directory, its start and its end. None if that is not plain.

    tail: the last bytes of the file, which has `size` bytes.
    """
    if len(tail) < _END.size or tail[-_END.size :][:4] != b"PK\5\6":
        return None
    _, disk, first_disk, here, count, length, first, comment = _END.unpack(tail[-_END.size :])
    stop = size - _END.size
    if 0xFFFF in (here, count) or _IN_ZIP64 in (length, first):
        zip64 = tail[: -_END.size]
        if len(zip64) != _ZIP64_LOCATOR.size + _ZIP64_END.size or zip64[-_ZIP64_LOCATOR.size :][:4] != b"PK\6\7":
            return None
        signature, _, _, _, disk, first_disk, here, count, length, first = _ZIP64_END.unpack(zip64[: _ZIP64_END.size])
        stop -= len(zip64)
        if signature != b"PK\6\6":
            return None
    plain = not (disk or first_disk or comment) and here == count and first + length == stop
    return (count, first, stop) if plain else None


def _all_utf8(names: pa.BinaryArray) -> bool:
    try:
        names.cast(pa.string())
    except pa.ArrowInvalid:
        return False
    return True


def list_any(path: Path) -> pa.Table:
    """Lists any zip with `zipfile`, as `list_plain` does."""
    with open_file(path) as file, zipfile.ZipFile(file) as archive:
        check_all_listed(file, archive)
        members = archive.infolist()
    columns = [
        [_name_bytes(info) for info in members],
        [min(info.header_offset, _MAX_CLAIM) for info in members],
        [min(info.compress_size, _MAX_CLAIM) for info in members],
        [min(info.file_size, _MAX_CLAIM) for info in members],
        [info.CRC for info in members],
        [info.compress_type for info in members],
        [bool(info.flag_bits & _ENCRYPTED) for info in members],
    ]
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, MEMBERS, strict=True)], schema=MEMBERS)


def _name_bytes(info: zipfile.ZipInfo) -> bytes:
    """A member's name as bytes. `zipfile` decodes names not marked as UTF-8 from code page 437; most are UTF-8."""
    if info.flag_bits & _UTF8_NAME:
        return info.filename.encode("utf-8", "surrogateescape")
    return info.orig_filename.replace("\\", "/").encode("cp437", "replace")
