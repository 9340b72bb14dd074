"""Decodes image files to gray `uint8` pixels with OpenCV.

Resolves depth, colour, palette, transparency and orientation.

An image that cannot be decoded is returned as an `ImageError`, never raised. Damage that the format can detect is
found: wrong PNG checksums, a file that was cut short. Flipped bits in the data of a JPEG cannot be detected.
This module knows nothing about digits: size and framing belong to `framing/`.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt

from mnist_batch.images.header import (
    MAX_PIXELS,
    exif_orientation,
    image_format,
    image_size,
    is_truncated,
    list_tiff_pages,
    may_hold_exif,
    tiff_white_is_zero,
)
from mnist_batch.images.opencv import cv2
from mnist_batch.records import EncodedPage, ImageError, Pixels, RejectReason
from mnist_batch.signatures import SIGNATURE_BYTES, describe_start, find_signature

# Shares of blue, green and red in luminance (ITU-R BT.601).
_BT601 = np.array([0.114, 0.587, 0.299])
# In a gray picture that JPEG stored as colour, the channels differ by at most this much.
_GRAY_TOLERANCE = 16
# Another mixture of the channels is used only if it has this many times the contrast of luminance. On white, the
# factor is 1.1 for blue ink, 1.4 for red and 9 for yellow.
_MIN_CONTRAST_GAIN = 1.5
# Enough pixels to estimate the contrast.
_SAMPLE_PIXELS = 4096


def decode(image: bytes | EncodedPage) -> Pixels | ImageError:
    """Decodes an image file, or a page of one, to gray pixels [height, width], 0 black and 255 white.

    Returns an error if that is not possible, or if a file has several pages.

    Colour becomes luminance (ITU-R BT.601, as in OpenCV). If luminance hides the picture, as with yellow ink on white,
    the mixture of the channels with the most contrast is used instead. 16-bit images are scaled to 8 bit. Of an
    animation, the first frame is used. Transparency is composited: on white if the ink is dark, on black if it is
    light. The image is turned upright according to its EXIF orientation.
    """
    data, page = (image.content, image.page) if isinstance(image, EncodedPage) else (image, None)
    if not data:
        return ImageError(RejectReason.EMPTY, "0 bytes")
    kind = image_format(data)
    if kind is None:
        return _describe_other(data)
    size = image_size(data, page or 0)
    if size is not None and size[0] * size[1] > MAX_PIXELS:
        return ImageError(RejectReason.TOO_LARGE, f"{kind} of {size[0]}x{size[1]} pixels")
    if is_truncated(data):
        return ImageError(RejectReason.UNDECODABLE, f"damaged {kind} of {len(data)} bytes")
    if kind == "TIFF" and page is None and (pages := len(list_tiff_pages(io.BytesIO(data)))) > 1:
        return ImageError(RejectReason.SEVERAL_PAGES, f"a TIFF of {pages} pages: split them")
    try:
        decoded = _decode_page(data, page or 0)
    except cv2.error as error:
        return ImageError(RejectReason.UNDECODABLE, f"damaged {kind}: {error.err}")
    if decoded is None:
        return ImageError(RejectReason.UNDECODABLE, f"damaged {kind} of {len(data)} bytes")
    if decoded.dtype not in (np.uint8, np.uint16):
        return ImageError(RejectReason.UNDECODABLE, f"{kind} with {decoded.dtype} samples, not 1, 8 or 16 bit")
    if kind == "TIFF":
        # OpenCV turns a TIFF upright itself. But in 16 bit it reads zero as black, whatever the file says.
        inverted = decoded.dtype == np.uint16 and tiff_white_is_zero(data, page or 0)
        return to_gray(np.invert(decoded) if inverted else decoded)
    gray = to_gray(decoded, _find_transparent_gray(data) if kind == "PNG" else None)
    return _rotate_upright(gray, _read_orientation(data)) if may_hold_exif(data) else gray


def _decode_page(data: bytes, page: int) -> npt.NDArray[Any] | None:
    """What OpenCV decodes, None if it cannot. Raises cv2.error if the data is damaged in some ways."""
    content = np.frombuffer(data, np.uint8)
    if page == 0:
        return cv2.imdecode(content, cv2.IMREAD_UNCHANGED)
    _, images = cv2.imdecodemulti(content, cv2.IMREAD_UNCHANGED, range=(page, page + 1))
    return images[0] if images else None


def _describe_other(data: bytes) -> ImageError:
    """The error for data in a format that is not decoded."""
    signature = find_signature(data[:SIGNATURE_BYTES])
    if signature is None:
        return ImageError(RejectReason.NOT_AN_IMAGE, describe_start(data))
    reason = RejectReason.UNDECODABLE if signature.is_image else RejectReason.NOT_AN_IMAGE
    return ImageError(reason, f"{signature.name}: {signature.remedy}")


def to_gray(image: npt.NDArray[Any], transparent: int | None = None) -> Pixels:
    """Converts what OpenCV decoded to 8-bit gray.

    image: [h, w] or [h, w, 3 or 4] of uint8 or uint16, blue first.
    transparent: the gray level that is transparent, if any; ignored for colour images.
    """
    if transparent is not None and image.ndim == 2:
        alpha = np.where(image == transparent, 0, np.iinfo(image.dtype).max).astype(image.dtype)
        return _composite(_to_eight_bit(image), _to_eight_bit(alpha))
    image = _to_eight_bit(image)
    if image.ndim == 2:
        return image
    if image.shape[2] == 4:
        return _composite(to_gray(image[..., :3]), image[..., 3])
    return _mix_channels(np.ascontiguousarray(image))


def _mix_channels(image: Pixels) -> Pixels:
    """Gray levels 0..255 of a colour image [h, w, 3], blue first; bright where the image is bright.

    They are the luminance, or the principal component if it has more than `_MIN_CONTRAST_GAIN` times the contrast.
    """
    luminance = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), np.uint8)
    blue, green, red = cv2.split(image)
    if max(cv2.norm(blue, red, cv2.NORM_INF), cv2.norm(green, red, cv2.NORM_INF)) <= _GRAY_TOLERANCE:
        return luminance
    sample = image.reshape(-1, 3)[:: max(1, image.size // (3 * _SAMPLE_PIXELS))].astype(np.float64)
    covariance = np.cov(sample, rowvar=False, bias=True)
    axis = np.linalg.eigh(covariance)[1][:, -1]
    axis *= np.sign(axis @ _BT601) / np.abs(axis).sum()  # so that the result stays within 256 levels
    if axis @ covariance @ axis <= _MIN_CONTRAST_GAIN**2 * (_BT601 @ covariance @ _BT601):
        return luminance
    return np.rint(image @ axis - 255 * np.minimum(axis, 0).sum()).astype(np.uint8)


def _to_eight_bit(image: npt.NDArray[Any]) -> Pixels:
    if image.dtype == np.uint8:
        return image
    # 257 is 65535 / 255. Rounds to the nearest level, and is exact for 8-bit images that were stored as 16 bit.
    return ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _composite(gray: Pixels, alpha: Pixels) -> Pixels:
    """Composites `gray` on a background that contrasts with its ink: white if the ink is dark, black if it is light.

    The ink's gray level is the mean of the image, weighted by opacity.
    """
    weight = alpha.astype(np.uint32)
    opaque = int(weight.sum())
    background = 255 if opaque and int((gray * weight).sum()) < 128 * opaque else 0
    return ((gray * weight + background * (255 - weight) + 127) // 255).astype(np.uint8)


def _find_transparent_gray(data: bytes) -> int | None:
    """The gray level that a gray PNG declares transparent (tRNS), scaled as OpenCV decodes it, or None.

    OpenCV ignores this chunk.
    """
    depth, colour_type = data[24], data[25]
    offset = data.find(b"tRNS", 33, data.find(b"IDAT"))
    if colour_type != 0 or offset < 0:
        return None
    value = int.from_bytes(data[offset + 4 : offset + 6], "big")
    return value if depth >= 8 else value * 255 // ((1 << depth) - 1)


def _read_orientation(data: bytes) -> int:
    try:
        _, kinds, blocks = cv2.imdecodeWithMetadata(np.frombuffer(data, np.uint8), flags=cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return 1
    # If there is no metadata, OpenCV returns None or an empty tuple, depending on the format.
    for kind, block in zip(kinds if kinds is not None else (), blocks or (), strict=False):
        if kind == cv2.IMAGE_METADATA_EXIF:
            return exif_orientation(np.asarray(block, np.uint8).tobytes())
    return 1


def _rotate_upright(image: Pixels, orientation: int) -> Pixels:
    """Undoes an EXIF orientation: 2, 4, 5 and 7 are mirrored; 3, 6, 8 (and 5, 7) are rotated."""
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
