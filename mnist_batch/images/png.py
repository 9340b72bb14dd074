"""Decodes plain PNGs in batches. Plain means: 28x28, 8-bit gray, not interlaced, all image data in one chunk.

Most digit images are plain. OpenCV spends half of its decoding time for such a file on work other than inflating. In a
batch, that share is a tenth. All other PNGs, and damaged ones, are left to `decode.py`. Follows the W3C's PNG
specification (Third Edition, 2025), sections 5 (chunks) and 9 (filtering).
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from deflate import DeflateError, zlib_decompress
from isal.isal_zlib import crc32

from mnist_batch.records import IMAGE_SIDE, Pixels

_NONE, _SUB, _UP, _AVERAGE, _PAETH = range(5)
_HEADER = b"IHDR" + IMAGE_SIDE.to_bytes(4, "big") * 2 + bytes([8, 0, 0, 0, 0])
# Signature and header chunk, the same in all plain PNGs.
_START = b"\x89PNG\r\n\x1a\n" + (13).to_bytes(4, "big") + _HEADER + zlib.crc32(_HEADER).to_bytes(4, "big")
_END = bytes(4) + b"IEND" + zlib.crc32(b"IEND").to_bytes(4, "big")
# The bytes before and after the image data.
_HEAD = np.dtype([("start", f"V{len(_START)}"), ("size", ">u4"), ("kind", "V4")])
_TAIL = np.dtype([("checksum", ">u4"), ("end", f"V{len(_END)}")])
_HEAD_BYTES, _TAIL_BYTES = _HEAD.itemsize, _TAIL.itemsize
_KIND_OFFSET, _OVERHEAD_BYTES = _HEAD_BYTES - 4, _HEAD_BYTES + _TAIL_BYTES
_FILTERED_BYTES = IMAGE_SIDE * (1 + IMAGE_SIDE)
# Deflate never needs more for a plain PNG. A batch of files is held in memory until all are inflated.
_MAX_FILE_BYTES = 2 * _FILTERED_BYTES
# Average and Paeth go pixel by pixel, through all images at once: some 7,000 small steps. For fewer images than this,
# OpenCV is faster.
_MIN_STEPWISE = 512


def inflate(images: Sequence[bytes]) -> tuple[list[bytearray], list[int]]:
    """Inflates those of `images` that are plain and undamaged PNGs.

    Returns their filtered rows, 28 of 29 bytes per image, and their positions in `images`.
    """
    filtered, positions = list[bytearray](), list[int]()
    for position in _find_plain(images).tolist():
        try:
            rows = zlib_decompress(images[position][_HEAD_BYTES:-_TAIL_BYTES], _FILTERED_BYTES)
        except DeflateError:
            continue
        if len(rows) == _FILTERED_BYTES:
            filtered.append(rows)
            positions.append(position)
    return filtered, positions


def decode_plain(images: Sequence[bytes]) -> tuple[Pixels, npt.NDArray[np.int64]]:
    """Decodes those of `images` that are plain and undamaged PNGs.

    Returns their pixels, [m, 28, 28], and their positions in `images`, int64 [m].
    """
    filtered, positions = inflate(images)
    pixels, decoded = unfilter(filtered)
    return pixels[decoded], np.array(positions, np.int64)[decoded]


def _find_plain(images: Sequence[bytes]) -> npt.NDArray[np.int64]:
    """int64 [m]: positions of the images that look like plain PNGs and whose data matches its checksum."""
    sizes = np.fromiter(map(len, images), np.int64, len(images))
    positions = np.flatnonzero((sizes >= _OVERHEAD_BYTES) & (sizes <= _MAX_FILE_BYTES))
    if len(positions) < len(images):
        images, sizes = [images[position] for position in positions.tolist()], sizes[positions]
    heads = np.frombuffer(b"".join([image[:_HEAD_BYTES] for image in images]), _HEAD)
    tails = np.frombuffer(b"".join([image[-_TAIL_BYTES:] for image in images]), _TAIL)
    checksums = np.fromiter((crc32(image[_KIND_OFFSET:-_TAIL_BYTES]) for image in images), np.uint32, len(images))
    intact = (heads["size"] == sizes - _OVERHEAD_BYTES) & (tails["checksum"] == checksums)
    plain = (heads["start"] == np.void(_START)) & (heads["kind"] == np.void(b"IDAT")) & (tails["end"] == np.void(_END))
    return positions[intact & plain]


def unfilter(
    filtered: Sequence[bytes | bytearray], min_stepwise: int = _MIN_STEPWISE
) -> tuple[Pixels, npt.NDArray[np.bool_]]:
    """Undoes the filters of the n images that `inflate` returned.

    min_stepwise: images with Average or Paeth filters are decoded only if there are at least this many.
    Returns the pixels, [n, 28, 28], and bool [n]: which images were decoded. Those with an unknown filter are not.
    """
    rows = np.frombuffer(b"".join(filtered), np.uint8).reshape(-1, IMAGE_SIDE, 1 + IMAGE_SIDE)
    kinds, values = rows[..., 0], rows[..., 1:]
    if (kinds == _SUB).all():  # as OpenCV writes them
        return _running_sum(values), np.ones(len(values), bool)
    highest = kinds.max(axis=1)
    decodable = highest <= _PAETH
    if np.count_nonzero(decodable & (highest > _UP)) < min_stepwise:
        decodable = highest <= _UP
    pixels = np.zeros((IMAGE_SIDE, len(values), IMAGE_SIDE), np.uint8)
    above = np.zeros_like(pixels[0])
    for y, line in enumerate(pixels):
        line[:] = values[:, y]
        for kind in np.unique(kinds[decodable, y]):
            selected = decodable & (kinds[:, y] == kind)
            line[selected] = _unfilter_row(int(kind), line[selected], above[selected])
        above = line
    return np.ascontiguousarray(pixels.transpose(1, 0, 2)), decodable


def _unfilter_row(kind: int, line: Pixels, above: Pixels) -> Pixels:
    """Undoes the filter of one row of n images, [n, 28]. above: the row before it, unfiltered."""
    if kind == _NONE:
        return line
    if kind == _SUB:
        return _running_sum(line)
    if kind == _UP:
        return line + above
    return _unfilter_stepwise(kind, np.ascontiguousarray(line.T), np.ascontiguousarray(above.T)).T


def _running_sum(values: Pixels) -> Pixels:
    """Running sums along the last axis, as uint8. Five times as fast as `np.cumsum`, which goes byte by byte."""
    sums = values.copy()
    for x in range(1, sums.shape[-1]):
        sums[..., x] += sums[..., x - 1]
    return sums


def _unfilter_stepwise(kind: int, line: Pixels, above: Pixels) -> Pixels:
    """Undoes Average or Paeth, for [28, n]: pixel by pixel, because each depends on the one before it."""
    left = corner = np.zeros_like(line[0])
    for x, over in enumerate(above):
        prediction = (
            ((left.astype(np.uint16) + over) >> 1).astype(np.uint8) if kind == _AVERAGE else _paeth(left, over, corner)
        )
        line[x] += prediction
        left, corner = line[x], over
    return line


def _paeth(left: Pixels, above: Pixels, corner: Pixels) -> Pixels:
    """The neighbour nearest to left + above - corner; on ties left, then above (section 9.4)."""
    a, b = above.astype(np.int16) - corner, left.astype(np.int16) - corner
    to_left, to_above, to_corner = np.abs(a), np.abs(b), np.abs(a + b)
    nearest = np.where(to_above <= to_corner, above, corner)
    return np.where((to_left <= to_above) & (to_left <= to_corner), left, nearest)
