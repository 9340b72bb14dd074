"""What an image file says about itself before it is decoded: its format, size and EXIF orientation.

Reads only the first bytes, without OpenCV. So planning can tell images from other files, and a decompression bomb is
found before it is decoded: 20,000 x 20,000 pixels in 389 KB would take 2 GB. This module knows nothing about pixels.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator, Mapping
from typing import IO

IMAGE_SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".tif", ".tiff", ".webp", ".gif",
    ".pbm", ".pgm", ".ppm", ".pnm",
    # These cannot be decoded. Each is a row all the same, and becomes a reject that says what it is.
    ".heic", ".heif", ".avif", ".jp2", ".j2k", ".jxl", ".ico", ".tga", ".psd", ".pdf",
)  # fmt: skip
# The number of bytes that `image_format` needs.
HEAD_SIZE = 16
# Larger images are not decoded. At 16 bit and four channels, this many pixels take 512 MB.
MAX_PIXELS = 64_000_000

_PNG_HEADER_BYTES = 33
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# Deflate compresses at most 1032 to 1 (zlib.net/zlib_tech.html). The rest allows for the other chunks.
_MAX_DEFLATE_RATIO = 1040
_TIFF_SUBFILE, _TIFF_WIDTH, _TIFF_HEIGHT, _TIFF_PHOTOMETRIC, _TIFF_ORIENTATION = 254, 256, 257, 262, 274
# Bits of NewSubfileType: a smaller copy of another page, or a mask for it.
_TIFF_NOT_A_PAGE = 0b101
# A file with more pages is not read page by page.
MAX_TIFF_PAGES = 65_535
# JPEG start-of-frame markers: FFC0..FFCF without DHT (C4), JPG (C8) and DAC (CC).
_JPEG_SIZE_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Restart markers, start of image and TEM have no length field.
_JPEG_BARE_MARKERS = frozenset(range(0xD0, 0xD9)) | {0x01}


def image_format(head: bytes) -> str | None:
    """Name of the image format whose files begin like `head`, or None."""
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
    # Many texts begin with "BM". In a BMP, the reserved field is zero too.
    if head.startswith(b"BM") and head[6:10] == b"\0\0\0\0":
        return "BMP"
    return "PNM" if re.match(rb"P[1-6]\s", head) else None


def image_size(data: bytes, page: int = 0) -> tuple[int, int] | None:
    """Width and height as stated in the header; None if the header is cut off or the format is unknown.

    page: of a TIFF, the number of the directory, counted from 0.
    """
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
            case "PNM":
                return _pnm_size(data)
            case "TIFF":
                tags = tiff_tags(data, page)
                return tags[_TIFF_WIDTH], tags[_TIFF_HEIGHT]
    except (struct.error, IndexError, KeyError, ValueError):
        pass
    return None


def _pnm_size(data: bytes) -> tuple[int, int] | None:
    """Width and height of a portable bitmap, graymap or pixmap, whose header is text with comments."""
    text = re.sub(rb"#[^\n]*\n", b" ", data[:1024])
    match = re.match(rb"P[1-6]\s+(\d{1,9})\s+(\d{1,9})\s", text)
    return None if match is None else (int(match[1]), int(match[2]))


def is_truncated(data: bytes) -> bool:
    """Whether a PNG ends inside a chunk, or has too few bytes for its size. False for other formats.

    OpenCV would allocate 2 GB for 300 bytes with a chunk header that says 2 GB. For 100 bytes with a header of 64
    megapixels, it would decode zeros for seconds.
    """
    if image_format(data) != "PNG" or len(data) < _PNG_HEADER_BYTES:
        return False
    width, height, depth, colour = struct.unpack_from(">IIBB", data, 16)
    row_bytes = 1 + width * depth * _PNG_CHANNELS.get(colour, 1) // 8
    if row_bytes * height > _MAX_DEFLATE_RATIO * len(data):
        return True
    offset = 8
    while offset + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, offset)
        offset += 12 + size
        if kind == b"IEND":
            break
    return bool(offset > len(data))


def tiff_tags(data: bytes, page: int = 0) -> Mapping[int, int]:
    """The integer tags in a directory of a TIFF or of an EXIF block, which has the same structure.

    Raises struct.error if the data is cut off, ValueError if there is no such directory.
    """
    for number, tags in enumerate(_read_directories(io.BytesIO(data))):
        if number == page:
            return tags
    raise ValueError(f"no page {page}")


def list_tiff_pages(file: IO[bytes]) -> list[int]:
    """The numbers of a TIFF's directories that are pages, counted from 0. At least one, also if the file is no TIFF.

    The first directory always is a page. Smaller copies of pages and masks are none (TIFF 6.0, tag 254,
    NewSubfileType). A directory that is cut off counts as a page, so that it becomes a reject. The list ends after
    `MAX_TIFF_PAGES` + 1 pages.
    """
    if image_format(file.read(HEAD_SIZE)) != "TIFF":
        return [0]
    pages, directories = [0], 0
    file.seek(0)
    try:
        for number, tags in enumerate(_read_directories(file)):
            directories = number + 1
            if number and not tags.get(_TIFF_SUBFILE, 0) & _TIFF_NOT_A_PAGE:
                pages.append(number)
                if len(pages) > MAX_TIFF_PAGES:
                    break
    except struct.error:
        if directories:
            pages.append(directories)
    return pages


def _read_directories(file: IO[bytes]) -> Iterator[Mapping[int, int]]:
    """Yields the integer tags of each directory of a TIFF. Raises struct.error if one is cut off."""
    order = "<" if file.read(4)[:2] == b"II" else ">"
    seen: set[int] = set()
    while len(pointer := file.read(4)) == 4:
        (offset,) = struct.unpack(f"{order}I", pointer)
        if offset == 0 or offset in seen:
            break
        seen.add(offset)
        file.seek(offset)
        (count,) = struct.unpack(f"{order}H", file.read(2))
        (entries,) = struct.unpack(f"{12 * count}s", file.read(12 * count))
        # A SHORT (3) is in the first two bytes of the value, a LONG (4) in all four.
        yield {
            tag: struct.unpack_from(f"{order}{'H' if kind == 3 else 'I'}", value)[0]
            for tag, kind, value in struct.iter_unpack(f"{order}HH4x4s", entries)
            if kind in (3, 4)
        }


def has_more_frames(data: bytes) -> bool:
    """Whether a GIF, PNG or WebP is an animation of at least two frames."""
    match image_format(data):
        case "GIF":
            return _count_gif_frames(data) > 1
        case "PNG":
            return b"acTL" in data[: data.find(b"IDAT")]
        case "WebP":
            return data.count(b"ANMF") > 1
    return False


def may_hold_exif(data: bytes) -> bool:
    """Whether the data may have an EXIF orientation. A cheap check, and false for almost every image."""
    return re.search(rb"Exif\0\0|eXIf|EXIF", data[:65_536]) is not None


def tiff_white_is_zero(data: bytes, page: int = 0) -> bool:
    """Whether gray level 0 of a TIFF is white. TIFF 6.0, tag 262, PhotometricInterpretation."""
    try:
        return tiff_tags(data, page).get(_TIFF_PHOTOMETRIC) == 0
    except (struct.error, ValueError):
        return False


def exif_orientation(block: bytes) -> int:
    """Orientation 1..8 from an EXIF block; 1, upright, if the block has no valid orientation.

    CIPA DC-008, "Exchangeable image file format", tag 0x0112.
    """
    try:
        orientation = tiff_tags(block).get(_TIFF_ORIENTATION, 1)
    except (struct.error, ValueError):
        return 1
    return orientation if 1 <= orientation <= 8 else 1


def _count_gif_frames(data: bytes) -> int:
    """The number of frames of a GIF, at most 2. GIF89a specification, section 20, Image Descriptor."""
    frames, offset = 0, 13
    try:
        if data[10] & 0x80:
            offset += 3 << (1 + (data[10] & 7))  # the colour table
        while frames < 2 and data[offset] != 0x3B:
            if data[offset] == 0x21:  # an extension
                offset += 2
            else:
                frames += 1
                flags = data[offset + 9]
                offset += 11 + (3 << (1 + (flags & 7)) if flags & 0x80 else 0)
            while size := data[offset]:
                offset += 1 + size
            offset += 1
    except IndexError:  # cut off
        pass
    return frames


def _bmp_size(data: bytes) -> tuple[int, int]:
    (header_bytes,) = struct.unpack_from("<I", data, 14)
    width, height = struct.unpack_from("<HH" if header_bytes == 12 else "<ii", data, 18)
    return abs(width), abs(height)


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    offset = 2
    while offset < len(data):
        if data[offset] != 0xFF:
            return None
        marker = data[offset + 1]
        if marker == 0xFF:
            offset += 1
        elif marker in _JPEG_BARE_MARKERS:
            offset += 2
        elif marker in _JPEG_SIZE_MARKERS:
            height, width = struct.unpack_from(">HH", data, offset + 5)
            return width, height
        else:
            (length,) = struct.unpack_from(">H", data, offset + 2)
            offset += 2 + length
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
