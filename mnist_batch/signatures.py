"""Formats that are not read: their first bytes, their names, and what to do about them.

One table for inputs, members of archives, rejects and models. `magic` and `filetype` know more formats, but not the
ones that matter here (pointers of Git LFS, LIBSVM text, tables of digits), and give MIME types, not remedies.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# The number of bytes that `find_signature` needs.
SIGNATURE_BYTES = 512


# Suffixes of files that are not read, or not inside archives, but may hold images.
_MAY_HOLD_IMAGES = frozenset((
    ".7z", ".rar", ".xz", ".bz2", ".zst", ".lz4", ".zip", ".tar", ".tgz", ".gz", ".arrow", ".feather", ".orc", ".h5",
    ".hdf5", ".mat", ".pkl", ".pickle", ".pt", ".pth", ".tfrecord", ".tfrecords", ".npz", ".npy", ".parquet", ".djvu",
))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Signature:
    """A format that is not read.

    name: with an article. remedy: what to do, as a clause. is_image: whether such a file is one image.
    """

    name: str
    remedy: str
    is_image: bool = False


_TO_PNG = "convert it to PNG or JPEG"
_UNPACK = "unpack it first"
_TO_ARRAYS = "save the images as .npy, .npz or Parquet"
_FETCH = "fetch the file itself"

# The first whose pattern matches the beginning of a file.
_SIGNATURES = [
    (re.compile(pattern, re.DOTALL), Signature(name, remedy, is_image))
    for pattern, name, remedy, is_image in (
        (rb"....ftyp(heic|heix|heim|heis|hevc|hevx|mif1|msf1)", "a HEIC image", _TO_PNG, True),
        (rb"....ftypavi[fs]", "an AVIF image", _TO_PNG, True),
        (rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51", "a JPEG 2000 image", _TO_PNG, True),
        (rb"\0\0\0\x0cJXL |\xff\x0a", "a JPEG XL image", _TO_PNG, True),
        (rb"\x00\x00\x01\x00[\x01-\x20]\x00", "an icon", _TO_PNG, True),
        (rb"8BPS", "a Photoshop image", _TO_PNG, True),
        (rb"%PDF-", "a PDF document", "convert its pages to PNG", True),
        (rb"AT&TFORM", "a DjVu document", "convert its pages to PNG", True),
        (rb".{128}DICM", "a DICOM image", _TO_PNG, True),
        (rb"SIMPLE  =", "a FITS image", _TO_PNG, True),
        (rb"\s*(<\?xml[^>]*\?>)?\s*(<!--.*?-->\s*)?<svg", "an SVG drawing", _TO_PNG, True),
        (rb"version https://git-lfs\.github\.com/", "a pointer of Git LFS", "run `git lfs pull`", False),
        (rb"(\.\./)*(\.git/annex/objects/|/annex/objects/)", "a pointer of git-annex", "run `git annex get`", False),
        (rb"\s*(<!DOCTYPE html|<html|<head)|\s*<!doctype html", "an HTML page", f"{_FETCH}: a download failed", False),
        (rb"\x89HDF\r\n\x1a\n", "an HDF5 file", _TO_ARRAYS, False),
        (rb"MATLAB 5\.0 MAT-file", "a MATLAB file", _TO_ARRAYS, False),
        (rb"ARROW1", "an Arrow or Feather file", "save the table as Parquet", False),
        (rb"FEA1", "a Feather file", "save the table as Parquet", False),
        (rb"\xff\xff\xff\xff.{4}\x10\0\0\0", "an Arrow stream", "save the table as Parquet", False),
        (rb"ORC", "an ORC file", "save the table as Parquet", False),
        (rb"Obj\x01", "an Avro file", "save the table as Parquet", False),
        (rb"SQLite format 3\0", "an SQLite database", "save the table as Parquet", False),
        (rb"\x80[\x02-\x05](\x8a\nl\xfc\x9cF\xf9|.*torch)", "a PyTorch file", _TO_ARRAYS, False),
        (rb"\x80[\x02-\x05][\x95}\](cX\x8c\x8a]", "a pickle, which is never loaded", _TO_ARRAYS, False),
        # The length of the first record, its checksum, and then a protobuf of one field: tf.train.Example.
        (rb"..\0\0\0\0\0\0.{4}\n", "a TFRecord file", _TO_ARRAYS, False),
        (rb"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK, False),
        (rb"Rar!\x1a\x07", "a RAR archive", _UNPACK, False),
        (rb"\xfd7zXZ\0", "an xz file", _UNPACK, False),
        (rb"BZh[1-9]1AY&SY", "a bzip2 file", _UNPACK, False),
        (rb"\x28\xb5\x2f\xfd", "a Zstandard file", _UNPACK, False),
        (rb"\x04\x22\x4d\x18", "an LZ4 file", _UNPACK, False),
        (rb"\x1f\x9d", "a compress (.Z) file", _UNPACK, False),
        (rb"\x1f\x8b", "a gzip of something that is not read", _UNPACK, False),
        (rb"PK\x03\x04", "a zip", _UNPACK, False),
        (rb"\x7fELF|MZ.{58}", "a program", "check the path", False),
        (rb"-?\d+(\.\d+)?( \d+:[-+.\deE]+)+", "LIBSVM text", _TO_ARRAYS, False),
        (rb"(\d+,){64}\d+\r?\n", "text of 8x8 digits (optdigits)", _TO_ARRAYS, False),
        (rb"\d+(\.\d*)?( +-?\d+\.\d+){25,}", "text of 16x16 digits (USPS, Semeion)", _TO_ARRAYS, False),
        (rb"\s*[{\[]\s*[\"{\[\]}0-9-]", "JSON", _TO_ARRAYS, False),
        (rb"\s*<\?xml", "XML", "name the images themselves", False),
    )
]


def find_signature(head: bytes) -> Signature | None:
    """Returns the format of a file that is not read, by its first `SIGNATURE_BYTES`; None if it is not known."""
    return next((signature for pattern, signature in _SIGNATURES if pattern.match(head)), None)


def may_hold_images(suffix: str) -> bool:
    """Whether a skipped file with this suffix may hold images."""
    return suffix in _MAY_HOLD_IMAGES or suffix.endswith("idx3-ubyte")


def describe_start(head: bytes) -> str:
    """What a file is, for a message: its format, or its first bytes. Example: "is a HEIC image"."""
    signature = find_signature(head)
    if signature is not None:
        return f"is {signature.name}"
    return f"begins with {head[:8].hex(' ') or 'nothing'}"
