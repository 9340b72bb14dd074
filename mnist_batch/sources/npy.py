"""`.npy` files: one NumPy array of images. Labels are in another one beside it: `y_test.npy` for `x_test.npy`."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from mnist_batch.config import AutoLabels
from mnist_batch.errors import InputError
from mnist_batch.sources.arrays import (
    READ_ERRORS,
    ArrayReader,
    ArraySource,
    array_errors,
    check_images,
    count_labels,
    list_label_names,
    read_header,
)
from mnist_batch.sources.labels import to_digit_labels
from mnist_batch.sources.protocol import Container, File, open_file

MAGIC = b"\x93NUMPY"


@dataclass(frozen=True, slots=True, repr=False)
class NpySource(ArraySource):
    """The images of one file. labels: the file with the labels, if there is one."""

    labels: File | None
    format: str = field(default="npy", init=False)

    @property
    def labelled(self) -> bool:
        return self.labels is not None

    def list_sidecars(self) -> Sequence[File]:
        return [] if self.labels is None else [self.labels]

    def open(self) -> ArrayReader:
        opened = open_file(self.file)
        read_header(opened, str(self.file))
        return ArrayReader(self, opened, None if self.labels is None else read_labels(self.labels), f"{self.file}:")


def is_labels(head: bytes) -> bool:
    """Whether a file that begins with `head` is an array without the shape of images."""
    if not head.startswith(MAGIC):
        return False
    try:
        return not read_header(io.BytesIO(head), "").holds_images
    except (InputError, *READ_ERRORS):
        return False  # `open_npy` says what is wrong


def open_labels(container: Container) -> Sequence[NpySource]:
    """Returns no source. Raises InputError if the file was named as an input."""
    if container.named:
        open_npy(container)
    return []


def open_npy(container: Container) -> Sequence[NpySource]:
    """The source for a file.

    Raises InputError if it is damaged or holds no images, or if the labels beside it are not one digit per image.
    """
    file, options = container.file, container.options
    with open_file(file) as opened:
        header = read_header(opened, str(file))
        data_bytes = -opened.tell() + opened.seek(0, os.SEEK_END)
    check_images(header, str(file), data_bytes, options.pixel_range, "name the file that holds the images")
    stem, dot, suffix = file.name.rpartition(".")
    names = (f"{name}{dot}{suffix}" for name in list_label_names(stem))
    labels = container.find_beside(names) if options.labels is AutoLabels.AUTO else None
    if labels is not None:
        if (count := count_file_labels(labels)) != header.shape[0]:
            raise InputError(
                f"{labels}: must hold a label for each of the {header.shape[0]} images of {file.name}, holds {count}: "
                "correct the file, or switch labels off with --labels none"
            )
        read_labels(labels)
    return [NpySource(file, container.name, header, options.pixel_range, labels)]


def count_file_labels(file: File) -> int:
    """How many labels a file holds according to its header. Raises InputError if the shape does not fit labels."""
    with open_file(file) as opened:
        return count_labels(read_header(opened, str(file)), str(file))


def read_labels(file: File) -> pa.Int32Array:
    """The labels in a file: int32 [n] of 0..9. Raises InputError if they are anything else."""
    with array_errors(str(file)), open_file(file) as opened:
        values = np.load(opened, allow_pickle=False)
    return to_digit_labels(values, str(file))
