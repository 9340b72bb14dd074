"""Formats that are not read, by their first bytes."""

import io
import pickle
import struct

import numpy as np
import pyarrow as pa
import pytest
from contracts import DIGITS

from mnist_batch.images.header import image_format
from mnist_batch.signatures import SIGNATURE_BYTES, find_signature


def arrow_file(write: str) -> bytes:
    table, sink = pa.table({"a": [1]}), io.BytesIO()
    with getattr(pa.ipc, write)(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


FOUND = {
    "a HEIC image": struct.pack(">I", 24) + b"ftypheic" + bytes(40),
    "an AVIF image": struct.pack(">I", 28) + b"ftypavif" + bytes(40),
    "a JPEG 2000 image": b"\0\0\0\x0cjP  \r\n\x87\n",
    "a JPEG XL image": b"\xff\n" + bytes(40),
    "an icon": b"\0\0\1\0\1\0" + bytes(40),
    "a PDF document": b"%PDF-1.7\n",
    "an SVG drawing": b'<?xml version="1.0"?>\n<!-- drawn -->\n<svg xmlns="http://www.w3.org/2000/svg">',
    "a DICOM image": bytes(128) + b"DICM",
    "a pointer of Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
    "a pointer of git-annex": b"/annex/objects/SHA256E-s1--0.png\n",
    "an HTML page": b"<!DOCTYPE html>\n<html>",
    "an HDF5 file": b"\x89HDF\r\n\x1a\n" + bytes(40),
    "a MATLAB file": b"MATLAB 5.0 MAT-file, Platform: GLNXA64",
    "an Arrow or Feather file": arrow_file("new_file"),
    "an Arrow stream": arrow_file("new_stream"),
    "a pickle, which is never loaded": pickle.dumps({"data": [1]}),
    "a 7z archive": b"7z\xbc\xaf\x27\x1c\0\4",
    "a RAR archive": b"Rar!\x1a\7\1\0",
    "an xz file": b"\xfd7zXZ\0\0\4",
    "a bzip2 file": b"BZh91AY&SY",
    "a Zstandard file": b"\x28\xb5\x2f\xfd\4",
    "LIBSVM text": b"5 153:3 154:18 155:18\n",
    "text of 8x8 digits (optdigits)": b",".join([b"0"] * 65) + b"\n",
    "text of 16x16 digits (USPS, Semeion)": b"6.0000 " + b" ".join([b"-1.0000"] * 256) + b"\n",
    "JSON": b'{"a": 1}',
}


@pytest.mark.parametrize("name", FOUND)
def test_formats_are_named(name: str) -> None:
    signature = find_signature(FOUND[name][:SIGNATURE_BYTES])
    assert signature is not None
    assert signature.name == name
    assert signature.remedy


@pytest.mark.parametrize("data", [b"", b"hello", bytes(600), b"BM is text", b"1,2,3\n", b"\xff\xd8\xff\xe0"])
def test_others_have_no_name(data: bytes) -> None:
    assert find_signature(data) is None


def test_images_are_not_named() -> None:
    for png in DIGITS.pngs:
        assert image_format(png) == "PNG"
        assert find_signature(png[:SIGNATURE_BYTES]) is None


def test_random_bytes_are_rarely_named() -> None:
    generator = np.random.default_rng(0)
    named = sum(find_signature(generator.bytes(SIGNATURE_BYTES)) is not None for _ in range(20_000))
    assert named < 10
