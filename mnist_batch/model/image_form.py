"""The forms in which models take an image of 28x28 pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mnist_batch.model.backend import tf
from mnist_batch.records import IMAGE_SIDE

# LeNet-5 takes 32x32, a digit of 28x28 with a margin (LeCun et al. 1998, section II.B).
_MARGIN = 2


@dataclass(frozen=True, slots=True)
class ImageForm:
    """How a model takes an image.

    sizes: the sizes of its input without the batch, each that it leaves free filled in.
    margin: black pixels added on each side.
    is_colour: whether it takes three channels, which are then equal.
    channels_first: whether the axis of channels comes before rows and columns.
    """

    sizes: tuple[int, ...]
    margin: int = 0
    is_colour: bool = False
    channels_first: bool = False

    def __str__(self) -> str:
        side = IMAGE_SIDE + 2 * self.margin
        added = [f"a black margin of {self.margin} pixels"] if self.margin else []
        added += ["three equal channels"] if self.is_colour else []
        added += ["channels first"] if self.channels_first else []
        return f"{side}x{side}" + (f" with {' and '.join(added)}" if added else "")

    def arrange(self, images: tf.Tensor) -> tf.Tensor:
        """float32 [n, side, side], the margin included -> [n, *sizes]."""
        if self.is_colour:
            axis = 1 if self.channels_first else 3
            images = tf.repeat(tf.expand_dims(images, axis), 3, axis)
        return tf.reshape(images, (-1, *self.sizes))


def find_form(shape: Sequence[int | None] | None) -> ImageForm | None:
    """Returns how a model with an input of this shape takes an image, None if it does not. Free sizes fit any."""
    if shape is None:
        return None
    return next((form for form in _FORMS if _fits(shape, form.sizes)), None)


def _fits(shape: Sequence[int | None], sizes: tuple[int, ...]) -> bool:
    return len(shape) == len(sizes) and all(given in (None, size) for given, size in zip(shape, sizes, strict=True))


def _list_forms() -> list[ImageForm]:
    forms = []
    for margin in (0, _MARGIN):
        side = IMAGE_SIDE + 2 * margin
        forms += [
            ImageForm((side * side,), margin),
            ImageForm((side, side), margin),
            ImageForm((side, side, 1), margin),
            ImageForm((side, side, 3), margin, is_colour=True),
            ImageForm((1, side, side), margin, channels_first=True),
            ImageForm((3, side, side), margin, is_colour=True, channels_first=True),
        ]
    return forms


# The first that fits is taken, so a model that leaves all sizes free gets 28x28 and one channel.
_FORMS = _list_forms()
