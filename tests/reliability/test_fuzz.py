"""What mutation found, held for good, and some more of it. All of it: `make fuzz RUNS=20000` (`fuzz.py`)."""

import io
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from contracts import DIGITS, ids_of, opened, png_of, read_all, rejects_of, write_parquet, write_zip

from mnist_batch.errors import InputError
from mnist_batch.sources.label_file import open_label_file

FUZZ = Path(__file__).with_name("fuzz.py")
# Other seeds than those of the full run.
FIRST, RUNS = 1_000_000, 1000


def test_mutated_inputs_of_every_form_end_in_rows_or_in_an_error_of_one_line():
    command = [sys.executable, str(FUZZ), "--first", str(FIRST), "--runs", str(RUNS)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.stdout == f"{RUNS} mutated inputs, 0 findings\n", run.stderr
    assert run.returncode == 0


def test_a_zip_whose_directory_points_out_of_the_file_has_an_unreadable_member(tmp_path):
    path = write_zip(tmp_path / "a.zip", {"a.png": png_of(DIGITS.pixels[0]), "b.png": png_of(DIGITS.pixels[1])})
    content = bytearray(path.read_bytes())
    end = content.index(b"PK\5\6")
    offset = struct.unpack_from("<I", content, end + 16)[0]
    struct.pack_into("<I", content, end + 16, offset + 30)  # all members now lie 30 bytes further to the front
    path.write_bytes(content)
    try:
        reasons = [reason for _, reason in rejects_of(opened(path))]
    except InputError as error:  # newer Pythons see it in the directory
        reasons = str(error).splitlines()
    assert reasons in (["unreadable"] * 2, [f"{path}: zip must be whole, but: Bad offset for central directory"])


@pytest.mark.parametrize("field", ["header_offset", "compress_size", "file_size"])
@pytest.mark.parametrize("value", [2**32 - 2, 2**63 - 1, 2**64 - 1])
def test_a_zip_member_that_claims_to_lie_anywhere_is_a_reject(field, value, tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.png", png_of(DIGITS.pixels[0]))
        archive.writestr("b", b"what the first bytes of this are is asked for too")
        for member in archive.infolist():
            setattr(member, field, value)
    inputs = opened(path)
    assert [name for name, _ in rejects_of(inputs)] == ["a.zip!a.png"]
    assert inputs.skipped == {"b": 1}


def test_a_zip_member_of_an_unknown_method_is_a_reject(tmp_path):
    path = write_zip(tmp_path / "a.zip", {"a.png": png_of(DIGITS.pixels[0])})
    content = bytearray(path.read_bytes())
    struct.pack_into("<H", content, content.index(b"PK\1\2") + 10, 46_809)
    path.write_bytes(content)
    assert rejects_of(opened(path)) == [("a.zip!a.png", "unreadable")]


def test_a_zip_member_without_a_name_is_an_entry_like_any_other(tmp_path):
    path = write_zip(tmp_path / "a.zip", {"a.png": png_of(DIGITS.pixels[0]), "b": b"no image"})
    content = bytearray(path.read_bytes())
    content[content.rindex(b"PK\1\2") + 46] = 0
    path.write_bytes(content)
    inputs = opened(path)
    assert ids_of(inputs) == ["a.zip!a.png"]
    assert sum(inputs.skipped.values()) == 1


@pytest.mark.parametrize("header", [b"{'descr': '|u1', 'shape': (2,", b"{'shape': (((((", b"\xff", b"{}", b"'''"])
def test_an_npy_header_that_is_no_python_is_an_error(header, tmp_path):
    npy = b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header + bytes(1568)
    path = write_zip(tmp_path / "a.npz", {"x_test.npy": npy})
    with pytest.raises(InputError, match="x_test must be readable as npz") as caught:
        opened(path)
    assert len(str(caught.value).splitlines()) == 1


def test_an_npz_whose_directory_points_out_of_the_file_is_an_error(tmp_path):
    np.savez(tmp_path / "a.npz", x_test=DIGITS.pixels)
    content = bytearray((tmp_path / "a.npz").read_bytes())
    struct.pack_into("<I", content, content.index(b"PK\5\6") + 16, 2**31)
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.npz"):
        read_all(opened(tmp_path / "a.npz"))


@pytest.mark.filterwarnings("ignore:Duplicate name")  # it is `zipfile` that warns
def test_an_npz_that_holds_an_array_twice_is_an_error(tmp_path):
    npy = io.BytesIO()
    np.save(npy, DIGITS.pixels[:2])
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        for _ in range(2):
            archive.writestr("x_test.npy", npy.getvalue())
    with pytest.raises(InputError, match="an array stands there twice"):
        opened(tmp_path / "a.npz")


@pytest.mark.parametrize(
    "content",
    [
        b"id,lab\xffel\na,1\n",
        b"\xff\xfe\n",
        b"id,label\n\xff,1\n",
        b"id,id,label\na,b,1\n",
        b"id,label\na,1,2\n",
        b'"a\nb",c\n1,2\n',
    ],
)
def test_a_label_table_that_is_no_text_or_no_table_is_an_error(content, tmp_path):
    (tmp_path / "labels.csv").write_bytes(content)
    with pytest.raises(InputError, match=r"labels\.csv: labels must") as caught:
        open_label_file(tmp_path / "labels.csv", 1)
    assert len(str(caught.value).splitlines()) == 1


def test_ids_that_are_no_text_are_an_error(tmp_path):
    broken = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(struct.pack("<2i", 0, 2)), pa.py_buffer(b"\xff\xfe")]
    )
    path = write_parquet(tmp_path / "labels.parquet", {"id": broken, "label": [1]})
    with pytest.raises(InputError, match=r"labels\.parquet: labels must"):
        open_label_file(path, 1)


def test_a_parquet_column_whose_name_is_no_text_is_an_error(tmp_path):
    path = write_parquet(tmp_path / "a.parquet", {"image": [image.tobytes() for image in DIGITS.pixels[:2]]})
    content = path.read_bytes()
    path.write_bytes(content.replace(b"image", b"ima\xffe"))
    with pytest.raises(InputError, match=r"a\.parquet: must be readable as Parquet"):
        ids_of(opened(path))
