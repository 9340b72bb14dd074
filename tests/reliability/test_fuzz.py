"""A short run of the fuzzer, and the bugs that longer runs found. The full run: `make fuzz RUNS=20000` (`fuzz.py`)."""

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
# Not the seeds of the full run, which start at 0.
FIRST, RUNS = 1_000_000, 1000


def test_mutated_inputs_give_rows_or_errors() -> None:
    command = [sys.executable, str(FUZZ), "--first", str(FIRST), "--runs", str(RUNS)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.stdout == f"{RUNS} mutated inputs, 0 findings\n", run.stderr
    assert run.returncode == 0


@pytest.mark.slow
def test_mutated_models_are_loaded_or_refused() -> None:
    command = [sys.executable, str(FUZZ), "--models", "--first", str(FIRST), "--runs", "300"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.stdout == "300 mutated models, 0 findings\n", run.stderr
    assert run.returncode == 0


def test_shifted_zip_members_are_unreadable(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"a.png": png_of(DIGITS.pixels[0]), "b.png": png_of(DIGITS.pixels[1])})
    content = bytearray(path.read_bytes())
    end = content.index(b"PK\5\6")
    offset = struct.unpack_from("<I", content, end + 16)[0]
    struct.pack_into("<I", content, end + 16, offset + 30)  # moves all members 30 bytes towards the start of the file
    path.write_bytes(content)
    try:
        reasons = [reason for _, reason in rejects_of(opened(path))]
    except InputError as error:  # newer Pythons notice it in the directory
        reasons = str(error).splitlines()
    assert reasons in (["unreadable"] * 2, [f"{path}: zip must be whole, but: Bad offset for central directory"])


@pytest.mark.parametrize("field", ["header_offset", "compress_size", "file_size"])
@pytest.mark.parametrize("value", [2**32 - 2, 2**63 - 1, 2**64 - 1])
def test_out_of_bounds_member_is_a_reject(field: str, value: int, tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.png", png_of(DIGITS.pixels[0]))
        archive.writestr("b", b"a member without a suffix is recognized by its first bytes")
        for member in archive.infolist():
            setattr(member, field, value)
    inputs = opened(path)
    assert [name for name, _ in rejects_of(inputs)] == ["a.zip!a.png"]
    assert inputs.skipped == {"b": 1}


def test_unknown_zip_method_is_a_reject(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"a.png": png_of(DIGITS.pixels[0])})
    content = bytearray(path.read_bytes())
    struct.pack_into("<H", content, content.index(b"PK\1\2") + 10, 46_809)
    path.write_bytes(content)
    assert rejects_of(opened(path)) == [("a.zip!a.png", "unreadable")]


def test_nameless_zip_member_is_skipped(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"a.png": png_of(DIGITS.pixels[0]), "b": b"no image"})
    content = bytearray(path.read_bytes())
    content[content.rindex(b"PK\1\2") + 46] = 0
    path.write_bytes(content)
    inputs = opened(path)
    assert ids_of(inputs) == ["a.zip!a.png"]
    assert sum(inputs.skipped.values()) == 1


@pytest.mark.parametrize("header", [b"{'descr': '|u1', 'shape': (2,", b"{'shape': (((((", b"\xff", b"{}", b"'''"])
def test_unparsable_npy_header_is_an_error(header: bytes, tmp_path: Path) -> None:
    npy = b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header + bytes(1568)
    path = write_zip(tmp_path / "a.npz", {"x_test.npy": npy})
    with pytest.raises(InputError, match="x_test must be readable as a NumPy array") as caught:
        opened(path)
    assert len(str(caught.value).splitlines()) == 1


def test_npz_with_bad_directory_is_an_error(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x_test=DIGITS.pixels)
    content = bytearray((tmp_path / "a.npz").read_bytes())
    struct.pack_into("<I", content, content.index(b"PK\5\6") + 16, 2**31)
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.npz"):
        read_all(opened(tmp_path / "a.npz"))


@pytest.mark.filterwarnings("ignore:Duplicate name")  # `zipfile` warns when this test writes the archive
def test_duplicate_npz_array_is_an_error(tmp_path: Path) -> None:
    npy = io.BytesIO()
    np.save(npy, DIGITS.pixels[:2])
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        for _ in range(2):
            archive.writestr("x_test.npy", npy.getvalue())
    with pytest.raises(InputError, match="one of the arrays is in it twice"):
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
def test_unreadable_label_table_is_an_error(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_bytes(content)
    with pytest.raises(InputError, match=r"labels\.csv: labels must") as caught:
        open_label_file(tmp_path / "labels.csv", 1)
    assert len(str(caught.value).splitlines()) == 1


def test_non_text_ids_are_an_error(tmp_path: Path) -> None:
    broken = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(struct.pack("<2i", 0, 2)), pa.py_buffer(b"\xff\xfe")]
    )
    path = write_parquet(tmp_path / "labels.parquet", {"id": broken, "label": [1]})
    with pytest.raises(InputError, match=r"labels\.parquet: labels must"):
        open_label_file(path, 1)


def test_non_text_column_name_is_an_error(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", {"image": [image.tobytes() for image in DIGITS.pixels[:2]]})
    content = path.read_bytes()
    path.write_bytes(content.replace(b"image", b"ima\xffe"))
    with pytest.raises(InputError, match=r"a\.parquet: must be readable as Parquet"):
        ids_of(opened(path))
