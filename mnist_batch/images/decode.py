"""Encoded bytes to gray `uint8` pixels, by OpenCV: depth, colour, palette, transparency and orientation resolved.

An image that cannot be decoded comes back as a `ImageError`, never as an exception. Damage that the format can detect
(PNG's checksums, a file cut short) is found; flipped bits inside a JPEG's data are not detectable by anyone.
Knows nothing of digits: size and framing are `framing.py`'s.
"""

from __future__ import annotations

import os
from typing import Any

from mnist_batch.images.header import (
    MAX_PIXELS,
    exif_orientation,
    image_format,
    image_size,
    is_cut_short,
    may_hold_exif,
    tiff_white_is_zero,
)

# OpenCV reads these once, at import. Our own look at the header comes first, this is the second lock.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(MAX_PIXELS))
# It would write several lines to stderr for each damaged image, all of which end as rejects with a reason.
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")

import cv2
import numpy as np
import numpy.typing as npt

from mnist_batch.records import ImageError, Pixels, RejectReason

# Shares of blue, green and red in luminance (ITU-R BT.601).
_BT601 = np.array([0.114, 0.587, 0.299])
# Channels differ by no more than this in gray pictures that JPEG has stored as colour.
_GRAY_TOLERANCE = 16
# A mixture must have so many times luminance's contrast to be taken: on white, blue and red ink are hidden by 1.1 and
# 1.4 times, yellow by 9.
_HIDDEN = 1.5
# Pixels that are enough to tell.
_SAMPLE = 4096


def decode(data: bytes) -> Pixels | ImageError:
    """Gray pixels [height, width] of an encoded image, 0 black and 255 white, the way up its EXIF says; or why not.

    Colour becomes luminance (ITU-R BT.601, OpenCV's), or, where that hides the picture, as with yellow ink on white,
    the mixture of the channels that shows most of it; 16 bit is scaled to 8, of a GIF the first frame is taken.
    Transparency is composited: on white where the ink is dark, on black where it is light.
    """
    if not data:
        return ImageError(RejectReason.EMPTY, "0 bytes")
    kind = image_format(data)
    if kind is None:
        return ImageError(RejectReason.NOT_AN_IMAGE, f"begins with {data[:8].hex(' ')}")
    size = image_size(data)
    if size is not None and size[0] * size[1] > MAX_PIXELS:
        return ImageError(RejectReason.TOO_LARGE, f"{kind} of {size[0]}x{size[1]} pixels")
    if is_cut_short(data):
        return ImageError(RejectReason.UNDECODABLE, f"damaged {kind} of {len(data)} bytes")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        return ImageError(RejectReason.UNDECODABLE, f"damaged {kind}: {error.err}")
    if image is None:
        return ImageError(RejectReason.UNDECODABLE, f"damaged {kind} of {len(data)} bytes")
    if image.dtype not in (np.uint8, np.uint16):
        return ImageError(RejectReason.UNDECODABLE, f"{kind} with {image.dtype} samples, not 1, 8 or 16 bit")
    if kind == "TIFF":
        # OpenCV turns a TIFF upright by itself, but takes zero for black in 16 bit whatever the file says.
        inverted = image.dtype == np.uint16 and tiff_white_is_zero(data)
        return _to_gray(np.invert(image) if inverted else image, None)
    gray = _to_gray(image, _find_transparent_gray(data) if kind == "PNG" else None)
    return _rotate_upright(gray, _read_orientation(data)) if may_hold_exif(data) else gray


def _to_gray(image: npt.NDArray[Any], transparent: int | None) -> Pixels:
    """8-bit luminance of what OpenCV decoded: [h, w] or [h, w, 3 or 4] of uint8 or uint16, blue first."""
    if transparent is not None and image.ndim == 2:
        alpha = np.where(image == transparent, 0, np.iinfo(image.dtype).max).astype(image.dtype)
        return _composite(_to_eight_bit(image), _to_eight_bit(alpha))
    image = _to_eight_bit(image)
    if image.ndim == 2:
        return image
    if image.shape[2] == 4:
        return _composite(_to_gray(image[..., :3], None), image[..., 3])
    return _mix_channels(np.ascontiguousarray(image))


def _mix_channels(image: Pixels) -> Pixels:
    """Gray levels of a colour image [h, w, 3], blue first: its luminance, or its principal component if that has more
    than `_HIDDEN` times the contrast. In 0..255, bright where the image is.
    """
    luminance = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), np.uint8)
    blue, green, red = cv2.split(image)
    if max(cv2.norm(blue, red, cv2.NORM_INF), cv2.norm(green, red, cv2.NORM_INF)) <= _GRAY_TOLERANCE:
        return luminance
    sample = image.reshape(-1, 3)[:: max(1, image.size // (3 * _SAMPLE))].astype(np.float64)
    covariance = np.cov(sample, rowvar=False, bias=True)
    axis = np.linalg.eigh(covariance)[1][:, -1]
    axis *= np.sign(axis @ _BT601) / np.abs(axis).sum()  # 0..255 stays within 256 levels
    if axis @ covariance @ axis <= _HIDDEN**2 * (_BT601 @ covariance @ _BT601):
        return luminance
    return np.rint(image @ axis - 255 * np.minimum(axis, 0).sum()).astype(np.uint8)


def _to_eight_bit(image: npt.NDArray[Any]) -> Pixels:
    if image.dtype == np.uint8:
        return image
    # 65535 / 255 = 257: rounds to the nearest, and is exact for 8 bit written as 16.
    return ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _composite(gray: Pixels, alpha: Pixels) -> Pixels:
    """`gray` over a ground that its ink, weighted by opacity, stands out from: dark ink on white, light on black."""
    weight = alpha.astype(np.uint32)
    opaque = int(weight.sum())
    ground = 255 if opaque and int((gray * weight).sum()) < 128 * opaque else 0
    return ((gray * weight + ground * (255 - weight) + 127) // 255).astype(np.uint8)


def _find_transparent_gray(data: bytes) -> int | None:
    """The one gray that a gray PNG declares transparent (tRNS), as OpenCV decodes it; OpenCV itself drops it."""
    depth, colour_type = data[24], data[25]
    at = data.find(b"tRNS", 33, data.find(b"IDAT"))
    if colour_type != 0 or at < 0:
        return None
    value = int.from_bytes(data[at + 4 : at + 6], "big")
    return value if depth >= 8 else value * 255 // ((1 << depth) - 1)


def _read_orientation(data: bytes) -> int:
    try:
        _, kinds, blocks = cv2.imdecodeWithMetadata(np.frombuffer(data, np.uint8), flags=cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return 1
    # No kinds at all come back as None or as an empty tuple, according to the format.
    for kind, block in zip(kinds if kinds is not None else (), blocks or (), strict=False):
        if kind == cv2.IMAGE_METADATA_EXIF:
            return exif_orientation(np.asarray(block, np.uint8).tobytes())
    return 1


def _rotate_upright(image: Pixels, orientation: int) -> Pixels:
    """Undoes an EXIF orientation: 2, 4, 5, 7 are mirrored; 3, 6, 8 (and 5, 7) turned."""
    match orientation:
        case 2:
            return np.fliplr(image)
        case 3:
            return np.rot90(image, 2)
        case 4:
            return np.flipud(image)
        case 5:
            return image.T
        case 6:
            return np.rot90(image, -1)
        case 7:
            return np.rot90(image, 2).T
        case 8:
            return np.rot90(image)
    return image
