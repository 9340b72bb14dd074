"""PNGs of the plainest kind, decoded many at a time: 28x28, 8-bit gray, not interlaced, all data in one chunk.

Most digit images are that. Of such a file's decoding by OpenCV half is not inflating; done for a batch at once it is a
tenth. What is in any way unlike that, or damaged, is left to `decode.py`. Follows the W3C's PNG specification
(Third Edition, 2025), sections 5 (chunks) and 9 (filtering).
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
# Signature and header, the same in all of them.
_START = b"\x89PNG\r\n\x1a\n" + (13).to_bytes(4, "big") + _HEADER + zlib.crc32(_HEADER).to_bytes(4, "big")
_END = bytes(4) + b"IEND" + zlib.crc32(b"IEND").to_bytes(4, "big")
# What stands before the data and after them.
_HEAD = np.dtype([("start", f"V{len(_START)}"), ("size", ">u4"), ("kind", "V4")])
_TAIL = np.dtype([("checksum", ">u4"), ("end", f"V{len(_END)}")])
_DATA, _CHECKSUM = _HEAD.itemsize, _TAIL.itemsize
_KIND, _AROUND = _DATA - 4, _DATA + _CHECKSUM
_FILTERED_BYTES = IMAGE_SIDE * (1 + IMAGE_SIDE)
# Deflate never needs so many for these; a batch of files is held until all are inflated.
_MOST_BYTES = 2 * _FILTERED_BYTES
# Average and Paeth take a pixel at a time, in all images at once: some 7,000 small steps, that fewer do not pay for.
_LEAST_STEPWISE = 512


def inflate(images: Sequence[bytes]) -> tuple[list[bytearray], list[int]]:
    """The filtered lines, 28 of 29 bytes, of those that are plain PNGs and whole, and where these stand in `images`."""
    lines, positions = list[bytearray](), list[int]()
    for position in _find_plain(images).tolist():
        try:
            found = zlib_decompress(images[position][_DATA:-_CHECKSUM], _FILTERED_BYTES)
        except DeflateError:
            continue
        if len(found) == _FILTERED_BYTES:
            lines.append(found)
            positions.append(position)
    return lines, positions


def decode_plain(images: Sequence[bytes]) -> tuple[Pixels, npt.NDArray[np.int64]]:
    """Images [m, 28, 28] of those that are plain PNGs and whole, and where these stand in `images`, int64 [m]."""
    lines, positions = inflate(images)
    pixels, done = unfilter(lines)
    return pixels[done], np.array(positions, np.int64)[done]


def _find_plain(images: Sequence[bytes]) -> npt.NDArray[np.int64]:
    """Where those stand that look like plain PNGs and have the right checksum over their data, int64 [m]."""
    sizes = np.fromiter(map(len, images), np.int64, len(images))
    positions = np.flatnonzero((sizes >= _AROUND) & (sizes <= _MOST_BYTES))
    if len(positions) < len(images):
        images, sizes = [images[position] for position in positions.tolist()], sizes[positions]
    heads = np.frombuffer(b"".join([image[:_DATA] for image in images]), _HEAD)
    tails = np.frombuffer(b"".join([image[-_CHECKSUM:] for image in images]), _TAIL)
    checksums = np.fromiter((crc32(image[_KIND:-_CHECKSUM]) for image in images), np.uint32, len(images))
    whole = (heads["size"] == sizes - _AROUND) & (tails["checksum"] == checksums)
    plain = (heads["start"] == np.void(_START)) & (heads["kind"] == np.void(b"IDAT")) & (tails["end"] == np.void(_END))
    return positions[whole & plain]


def unfilter(lines: Sequence[bytes | bytearray]) -> tuple[Pixels, npt.NDArray[np.bool_]]:
    """Images [n, 28, 28] of what `inflate` gave for n PNGs, and bool [n]: which of them were decoded.

    Not decoded are those with a filter that does not exist, and those that are too few to be done together.
    """
    filtered = np.frombuffer(b"".join(lines), np.uint8).reshape(-1, IMAGE_SIDE, 1 + IMAGE_SIDE)
    kinds, values = filtered[..., 0], filtered[..., 1:]
    if (kinds == _SUB).all():  # as OpenCV writes them
        return _running_sum(values), np.ones(len(values), bool)
    most = kinds.max(axis=1)
    decode_plain = most <= _PAETH
    if np.count_nonzero(decode_plain & (most > _UP)) < _LEAST_STEPWISE:
        decode_plain = most <= _UP
    pixels = np.zeros((IMAGE_SIDE, len(values), IMAGE_SIDE), np.uint8)
    above = np.zeros_like(pixels[0])
    for row, line in enumerate(pixels):
        line[:] = values[:, row]
        for kind in np.unique(kinds[decode_plain, row]):
            positions = decode_plain & (kinds[:, row] == kind)
            line[positions] = _unfilter_line(int(kind), line[positions], above[positions])
        above = line
    return np.ascontiguousarray(pixels.transpose(1, 0, 2)), decode_plain


def _unfilter_line(kind: int, line: Pixels, above: Pixels) -> Pixels:
    """One line of n images, [n, 28], as it was before it was filtered; above: the one before it."""
    match kind:
        case 1:
            return _running_sum(line)
        case 2:
            return line + above
        case 3 | 4:
            return _unfilter_stepwise(kind, np.ascontiguousarray(line.T), np.ascontiguousarray(above.T)).T
    return line


def _running_sum(values: Pixels) -> Pixels:
    """Running sums along the last axis, as uint8. Five times as fast as `np.cumsum`, which goes byte by byte."""
    sums = values.copy()
    for x in range(1, sums.shape[-1]):
        sums[..., x] += sums[..., x - 1]
    return sums


def _unfilter_stepwise(kind: int, line: Pixels, above: Pixels) -> Pixels:
    """The same for [28, n], pixel by pixel: each depends on the one before."""
    left = corner = np.zeros_like(line[0])
    for x, over in enumerate(above):
        guess = (
            ((left.astype(np.uint16) + over) >> 1).astype(np.uint8) if kind == _AVERAGE else _paeth(left, over, corner)
        )
        line[x] += guess
        left, corner = line[x], over
    return line


def _paeth(left: Pixels, above: Pixels, corner: Pixels) -> Pixels:
    """Of three neighbours the one nearest to left + above - corner; of equals the first (section 9.4)."""
    a, b = above.astype(np.int16) - corner, left.astype(np.int16) - corner
    to_left, to_above, to_corner = np.abs(a), np.abs(b), np.abs(a + b)
    nearest = np.where(to_above <= to_corner, above, corner)
    return np.where((to_left <= to_above) & (to_left <= to_corner), left, nearest)
