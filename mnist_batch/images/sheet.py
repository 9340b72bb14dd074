"""A contact sheet of images before and after preprocessing: what a person sees, and what the model sees."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

import numpy as np

from mnist_batch.images.framing.ink import shrink
from mnist_batch.images.opencv import cv2
from mnist_batch.records import Pixels, Preprocessing

_SIDE = 84  # three times 28
_MARGIN = 6
_CAPTION = 18
_ASPECT = 1.4  # width to height of the sheet, about that of a screen
_PAPER, _TEXT, _REJECT, _CHANGED = (250, 250, 250), (70, 70, 70), (40, 40, 200), (150, 90, 20)


# By this text in the file a sheet is recognized.
MARK = b"Software\0mnist-batch inspect --sheet"
# The signature and the header chunk of a PNG.
_HEADER_BYTES = 33


def contact_sheet(samples: Sequence[tuple[Pixels | None, Pixels | None, str]]) -> bytes:
    """Draws a PNG that shows both images of each (before, after, caption) side by side above their caption.

    before: gray [height, width], or None if it could not be decoded.
    after: [28, 28], or None for a reject. A cross is drawn in place of a missing image.
    """
    width, height = 2 * _SIDE + 3 * _MARGIN, _SIDE + 2 * _MARGIN + _CAPTION
    columns = max(1, round((len(samples) * _ASPECT * height / width) ** 0.5))
    rows = -(-len(samples) // columns)
    sheet = np.full((max(1, rows) * height + _MARGIN, columns * width + _MARGIN, 3), _PAPER, np.uint8)
    for position, (before, after, caption) in enumerate(samples):
        top, left = position // columns * height + _MARGIN, position % columns * width + _MARGIN
        _draw_image(sheet, before, top, left)
        _draw_image(sheet, after, top, left + _SIDE + 2)
        colour = _REJECT if after is None else _TEXT if caption == Preprocessing.AS_IS else _CHANGED
        origin = (left, top + _SIDE + _CAPTION - 4)
        cv2.putText(sheet, caption, origin, cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, 1, cv2.LINE_AA)
    done, png = cv2.imencode(".png", sheet)
    if not done:
        raise RuntimeError(f"OpenCV must encode a sheet of {sheet.shape} as PNG, but did not")
    return _add_mark(png.tobytes())


def _add_mark(png: bytes) -> bytes:
    """Adds a text chunk after the header of a PNG (PNG specification, sections 5.3 and 11.3.3.2)."""
    chunk = b"tEXt" + MARK
    checked = struct.pack(">I", len(MARK)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return png[:_HEADER_BYTES] + checked + png[_HEADER_BYTES:]


def _draw_image(sheet: Pixels, image: Pixels | None, top: int, left: int) -> None:
    """Draws the image as large as its square on the sheet allows, or a cross if there is no image."""
    square = sheet[top : top + _SIDE, left : left + _SIDE]
    if image is None:
        square[:] = 235
        cv2.line(sheet, (left, top), (left + _SIDE - 1, top + _SIDE - 1), _REJECT, 1, cv2.LINE_AA)
        cv2.line(sheet, (left + _SIDE - 1, top), (left, top + _SIDE - 1), _REJECT, 1, cv2.LINE_AA)
        return
    square[:] = 215
    fitted = shrink(image, _SIDE)
    scale = max(1, _SIDE // max(fitted.shape))
    fitted = np.repeat(np.repeat(fitted, scale, axis=0), scale, axis=1)
    y, x = (_SIDE - fitted.shape[0]) // 2, (_SIDE - fitted.shape[1]) // 2
    square[y : y + fitted.shape[0], x : x + fitted.shape[1]] = fitted[..., np.newaxis]
