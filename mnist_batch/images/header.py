"""What an encoded image says of itself before it is decoded: its format, its size, its EXIF orientation.

Read from the first bytes only, without OpenCV, so that planning can tell images from other files and a bomb of
20,000 x 20,000 pixels in 389 KB is known for one before it takes 2 GB. It knows nothing of pixels.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".tif", ".tiff", ".webp", ".gif")
# How many bytes `image_format` wants to see.
HEAD_SIZE = 16
# An image of more is not decoded: at 16 bit and four channels this many take 512 MB.
MAX_PIXELS = 64_000_000

_PNG_HEADER_BYTES = 33
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# Deflate packs at most 1032 bytes into one (zlib.net/zlib_tech.html); the rest is for what stands around it.
_DEFLATE_GAIN = 1040
_TIFF_WIDTH, _TIFF_HEIGHT, _TIFF_PHOTOMETRIC, _TIFF_ORIENTATION = 256, 257, 262, 274
# JPEG start-of-frame markers: FFC0..FFCF without DHT (C4), JPG (C8) and DAC (CC).
_JPEG_SIZE_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Restart markers, start of image and TEM carry no length.
_JPEG_BARE_MARKERS = frozenset(range(0xD0, 0xD9)) | {0x01}


def image_format(head: bytes) -> str | None:
    """Name of the image format that begins with `head`, or None."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if head.startswith((b"II*\0", b"MM\0*")):
        return "TIFF"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WebP"
    # "BM" alone would take many a text for an image: a BMP's reserved field is zero too.
    if head.startswith(b"BM") and head[6:10] == b"\0\0\0\0":
        return "BMP"
    return None


def image_size(data: bytes) -> tuple[int, int] | None:
    """Width and height as the header states them, or None where it is cut off or of no known kind."""
    kind = image_format(data)
    try:
        match kind:
            case "PNG":
                return struct.unpack_from(">II", data, 16)
            case "GIF":
                return struct.unpack_from("<HH", data, 6)
            case "BMP":
                return _bmp_size(data)
            case "JPEG":
                return _jpeg_size(data)
            case "WebP":
                return _webp_size(data)
            case "TIFF":
                tags = tiff_tags(data)
                return tags[_TIFF_WIDTH], tags[_TIFF_HEIGHT]
    except (struct.error, IndexError, KeyError):
        pass
    return None


def is_cut_short(data: bytes) -> bool:
    """Whether a PNG ends within a chunk, or holds too few bytes for its size; other formats are not looked at.

    Of three hundred bytes that promise a chunk of 2 GB OpenCV would make 2 GB, and of a hundred that promise 64
    megapixels it would decode zeros for seconds.
    """
    if image_format(data) != "PNG" or len(data) < _PNG_HEADER_BYTES:
        return False
    width, height, depth, colour = struct.unpack_from(">IIBB", data, 16)
    row = 1 + width * depth * _PNG_CHANNELS.get(colour, 1) // 8
    if row * height > _DEFLATE_GAIN * len(data):
        return True
    at = 8
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        at += 12 + size
        if kind == b"IEND":
            break
    return bool(at > len(data))


def tiff_tags(data: bytes) -> Mapping[int, int]:
    """The integer tags of a TIFF's first directory; an EXIF block is such a TIFF. Raises struct.error when cut off."""
    order = "<" if data[:2] == b"II" else ">"
    (directory,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, directory)
    tags: dict[int, int] = {}
    for at in range(directory + 2, directory + 2 + 12 * count, 12):
        tag, kind = struct.unpack_from(f"{order}HH", data, at)
        if kind in (3, 4):  # SHORT, LONG
            (tags[tag],) = struct.unpack_from(f"{order}{'H' if kind == 3 else 'I'}", data, at + 8)
    return tags


def may_hold_exif(data: bytes) -> bool:
    """Whether it is worth looking for an orientation; false for almost every image, and cheap."""
    return re.search(rb"Exif\0\0|eXIf|EXIF", data[:65_536]) is not None


def tiff_white_is_zero(data: bytes) -> bool:
    """Whether a TIFF's gray levels count from white. TIFF 6.0, tag 262, PhotometricInterpretation."""
    try:
        return tiff_tags(data).get(_TIFF_PHOTOMETRIC) == 0
    except struct.error:
        return False


def exif_orientation(block: bytes) -> int:
    """Orientation 1..8 from an EXIF block; 1, upright, where it says nothing valid.

    CIPA DC-008, "Exchangeable image file format", tag 0x0112.
    """
    try:
        orientation = tiff_tags(block).get(_TIFF_ORIENTATION, 1)
    except struct.error:
        return 1
    return orientation if 1 <= orientation <= 8 else 1


def _bmp_size(data: bytes) -> tuple[int, int]:
    (header,) = struct.unpack_from("<I", data, 14)
    width, height = struct.unpack_from("<HH" if header == 12 else "<ii", data, 18)
    return abs(width), abs(height)


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    at = 2
    while at < len(data):
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
        elif marker in _JPEG_BARE_MARKERS:
            at += 2
        elif marker in _JPEG_SIZE_MARKERS:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        else:
            (length,) = struct.unpack_from(">H", data, at + 2)
            at += 2 + length
    return None


def _webp_size(data: bytes) -> tuple[int, int] | None:
    match data[12:16]:
        case b"VP8 ":
            width, height = struct.unpack_from("<HH", data, 26)
            return width & 0x3FFF, height & 0x3FFF
        case b"VP8L":
            (bits,) = struct.unpack_from("<I", data, 21)
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case b"VP8X":
            return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    return None
