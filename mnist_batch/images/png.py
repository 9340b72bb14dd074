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
from isal import isal_zlib

from mnist_batch.records import IMAGE_SIDE, Pixels

_NONE, _SUB, _UP, _AVERAGE, _PAETH = range(5)
_HEADER = b"IHDR" + IMAGE_SIDE.to_bytes(4, "big") * 2 + bytes([8, 0, 0, 0, 0])
# Signature and header, the same in all of them.
_START = b"\x89PNG\r\n\x1a\n" + (13).to_bytes(4, "big") + _HEADER + zlib.crc32(_HEADER).to_bytes(4, "big")
_END = bytes(4) + b"IEND" + zlib.crc32(b"IEND").to_bytes(4, "big")
_KIND = len(_START) + 4
_DATA = _KIND + 4
_CHECKSUM = len(_END) + 4
_AROUND = _DATA + _CHECKSUM
_FILTERED_BYTES = IMAGE_SIDE * (1 + IMAGE_SIDE)
# Deflate never needs so many for these; a batch of files is held until all are inflated.
_MOST_BYTES = 2 * _FILTERED_BYTES
# Average and Paeth take a pixel at a time, in all images at once: some 7,000 small steps, that fewer do not pay for.
_LEAST_STEPWISE = 512


def inflated(data: bytes) -> bytes | None:
    """The filtered lines of a plain PNG, 28 of 29 bytes, its checksums verified; None where it is none, or damaged."""
    if not (data.startswith(_START) and data.endswith(_END) and data[_KIND:_DATA] == b"IDAT"):
        return None
    if len(data) > _MOST_BYTES or int.from_bytes(data[_KIND - 4 : _KIND], "big") != len(data) - _AROUND:
        return None
    if zlib.crc32(data[_KIND:-_CHECKSUM]).to_bytes(4, "big") != data[-_CHECKSUM : -len(_END)]:
        return None
    try:
        lines: bytes = isal_zlib.decompress(data[_DATA:-_CHECKSUM], bufsize=_FILTERED_BYTES)
    except isal_zlib.error:  # type: ignore[misc]  # a class, which its stub calls an exception
        return None
    return lines if len(lines) == _FILTERED_BYTES else None


def unfiltered(lines: Sequence[bytes]) -> tuple[Pixels, npt.NDArray[np.bool_]]:
    """Images [n, 28, 28] of what `inflated` gave for n PNGs, and bool [n]: which of them were decoded.

    Not decoded are those with a filter that does not exist, and those that are too few to be done together.
    """
    filtered = np.frombuffer(b"".join(lines), np.uint8).reshape(-1, IMAGE_SIDE, 1 + IMAGE_SIDE)
    kinds, values = filtered[..., 0], filtered[..., 1:]
    if (kinds == _SUB).all():  # as OpenCV writes them
        return _summed(values), np.ones(len(values), bool)
    most = kinds.max(axis=1)
    decoded = most <= _PAETH
    if np.count_nonzero(decoded & (most > _UP)) < _LEAST_STEPWISE:
        decoded = most <= _UP
    pixels = np.zeros((IMAGE_SIDE, len(values), IMAGE_SIDE), np.uint8)
    above = np.zeros_like(pixels[0])
    for row, line in enumerate(pixels):
        line[:] = values[:, row]
        for kind in np.unique(kinds[decoded, row]):
            places = decoded & (kinds[:, row] == kind)
            line[places] = _line(int(kind), line[places], above[places])
        above = line
    return np.ascontiguousarray(pixels.transpose(1, 0, 2)), decoded


def _line(kind: int, line: Pixels, above: Pixels) -> Pixels:
    """One line of n images, [n, 28], as it was before it was filtered; above: the one before it."""
    match kind:
        case 1:
            return _summed(line)
        case 2:
            return line + above
        case 3 | 4:
            return _stepwise(kind, np.ascontiguousarray(line.T), np.ascontiguousarray(above.T)).T
    return line


def _summed(values: Pixels) -> Pixels:
    """Running sums along the last axis, as uint8. Five times as fast as `np.cumsum`, which goes byte by byte."""
    sums = values.copy()
    for x in range(1, sums.shape[-1]):
        sums[..., x] += sums[..., x - 1]
    return sums


def _stepwise(kind: int, line: Pixels, above: Pixels) -> Pixels:
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
