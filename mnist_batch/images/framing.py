"""Any decoded digit image to the form the models were trained on: 28x28, white ink on black.

Today that means: 28x28 or nothing. An image of another size is refused and never resized, because a digit that merely
fits the grid is scored wrongly and confidently (docs/decisions.md).
"""

from __future__ import annotations

from mnist_batch.records import IMAGE_SIDE, Pixels, Refusal, RejectReason


def frame(gray: Pixels) -> Pixels | Refusal:
    """Pixels [28, 28] of a gray image [height, width], or why there are none."""
    if gray.shape != (IMAGE_SIDE, IMAGE_SIDE):
        return Refusal(RejectReason.NOT_28X28, f"{gray.shape[1]}x{gray.shape[0]}")
    return gray
