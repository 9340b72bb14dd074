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
    channels: equal channels, None if it takes no axis for them.
    channels_first: whether the axis of channels comes before rows and columns.
    """

    sizes: tuple[int, ...]
    margin: int = 0
    channels: int | None = None
    channels_first: bool = False

    def __str__(self) -> str:
        side = IMAGE_SIDE + 2 * self.margin
        added = [f"a black margin of {self.margin} pixels"] if self.margin else []
        added += ["three equal channels"] if self.channels == 3 else []
        added += ["channels first"] if self.channels_first else []
        return f"{side}x{side}" + (f" with {' and '.join(added)}" if added else "")

    @property
    def is_adapted(self) -> bool:
        """Whether images get anything that MNIST's do not have."""
        return bool(self.margin) or self.channels == 3 or self.channels_first

    def arrange(self, images: tf.Tensor) -> tf.Tensor:
        """float32 [n, side, side], the margin included -> [n, *sizes]."""
        if self.channels == 3:
            images = tf.repeat(
                images[:, None] if self.channels_first else images[..., None], 3, 1 if self.channels_first else 3
            )
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
            ImageForm((side, side, 1), margin, 1),
            ImageForm((side, side, 3), margin, 3),
            ImageForm((1, side, side), margin, 1, channels_first=True),
            ImageForm((3, side, side), margin, 3, channels_first=True),
        ]
    return forms


# The first that fits is taken, so a model that leaves all sizes free gets 28x28 and one channel.
_FORMS = _list_forms()
