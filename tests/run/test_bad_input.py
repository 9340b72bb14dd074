"""Bad inputs, models and output folders give an exit code and one line of error, and leave no output."""

import errno
import gzip
import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Cli


def idx(*shape: int, values: bytes = b"", magic: bytes | None = None) -> bytes:
    magic = bytes((0, 0, 8, len(shape))) if magic is None else magic
    return magic + b"".join(size.to_bytes(4, "big") for size in shape) + values


def images(rows: int = 2) -> bytes:
    return idx(rows, 28, 28, values=bytes(rows * 784))


def missing(folder: Path) -> Path:
    return folder / "nothing"


def empty_folder(folder: Path) -> Path:
    (folder / "empty").mkdir()
    return folder / "empty"


def wrong_magic(folder: Path) -> Path:
    (folder / "a-images-idx3-ubyte").write_bytes(idx(2, 28, 28, values=bytes(1568), magic=b"\0\0\x08\x07"))
    return folder / "a-images-idx3-ubyte"


def cut_short(folder: Path) -> Path:
    (folder / "a").write_bytes(images()[:-1])
    return folder / "a"


def too_long(folder: Path) -> Path:
    (folder / "a").write_bytes(images() + b"\0")
    return folder / "a"


def wrong_number_of_labels(folder: Path) -> Path:
    (folder / "a-images-idx3-ubyte").write_bytes(images())
    (folder / "a-labels-idx1-ubyte").write_bytes(idx(3, values=b"\1\2\3"))
    return folder / "a-images-idx3-ubyte"


def label_that_is_not_a_digit(folder: Path) -> Path:
    (folder / "a-images-idx3-ubyte").write_bytes(images())
    (folder / "a-labels-idx1-ubyte").write_bytes(idx(2, values=b"\1\x0a"))
    return folder / "a-images-idx3-ubyte"


def write_table(folder: Path, columns: dict[str, Any]) -> Path:
    pq.write_table(pa.table(columns), folder / "a.parquet")
    return folder / "a.parquet"


def parquet_without_images(folder: Path) -> Path:
    return write_table(folder, {"name": ["x"], "label": [3]})


def parquet_with_two_image_columns(folder: Path) -> Path:
    return write_table(folder, {"front": pa.array([bytes(784)]), "back": pa.array([bytes(784)])})


def floats_without_a_range(folder: Path) -> Path:
    return write_table(folder, {"image": pa.array([[0.5] * 784], pa.list_(pa.float32()))})


def cut_parquet(folder: Path) -> Path:
    path = write_table(folder, {"image": pa.array([bytes(784)])})
    path.write_bytes(path.read_bytes()[:-10])
    return path


def zip_of_texts(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        archive.writestr("readme.txt", "no images here")
    return folder / "a.zip"


def cut_tar_gz(folder: Path) -> Path:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in ("0.png", "1.png"):
            info = tarfile.TarInfo(name)
            info.size = 5000
            archive.addfile(info, io.BytesIO(np.random.default_rng(0).bytes(5000)))
    content = gzip.compress(buffer.getvalue())
    (folder / "a.tar.gz").write_bytes(content[: len(content) // 2])
    return folder / "a.tar.gz"


def pickled_npz(folder: Path) -> Path:
    np.savez(folder / "a.npz", x_test=np.array([{"a": 1}], dtype=object))
    return folder / "a.npz"


def text_file(folder: Path) -> Path:
    (folder / "a.txt").write_text("hello")
    return folder / "a.txt"


CASES: list[tuple[Callable[[Path], Path], int, str]] = [
    (missing, 66, "but does not exist"),
    (empty_folder, 66, "must hold an image, found nothing"),
    (wrong_magic, 65, "must be an idx file of images (00 00 08 03), as its name says, but begins with 00 00 08 07"),
    (cut_short, 65, "header promises 2 images of 28x28 (1568 bytes), file has 1567 bytes"),
    (too_long, 65, "header promises 2 images of 28x28 (1568 bytes), file has 1569 bytes"),
    (wrong_number_of_labels, 65, "a label for each of the 2 images of a-images-idx3-ubyte, holds 3"),
    (label_that_is_not_a_digit, 65, "labels must be digits 0..9, row 1 has 10"),
    (parquet_without_images, 65, "its columns are name (string), label (int64)"),
    (parquet_with_two_image_columns, 65, "name one with --image-column"),
    (floats_without_a_range, 65, "--pixel-range"),
    (cut_parquet, 65, "must be readable as Parquet"),
    (zip_of_texts, 66, "must hold an image, found 1 x .txt"),
    (cut_tar_gz, 65, "tar must be whole"),
    (pickled_npz, 65, "pickled Python objects, which are never loaded"),
    (
        text_file,
        65,
        "must be an image, an idx file of images (00 00 08 03), a NumPy array, an npz, a zip, a tar, a Parquet file or",
    ),
]


@pytest.mark.parametrize(("make", "code", "why"), CASES, ids=[make.__name__ for make, _, _ in CASES])
def test_bad_input_is_one_line_of_error(
    make: Callable[[Path], Path], code: int, why: str, cli: Cli, tmp_path: Path, left_in: Callable[[Path], set[str]]
) -> None:
    source = make(tmp_path)
    run = cli("predict", source, "--output", tmp_path / "out")
    assert run.code == code
    assert len(run.stderr.splitlines()) == 1
    assert why in run.stderr
    assert str(source.parent) in run.stderr
    assert run.stdout == ""
    assert left_in(tmp_path / "out") == set()


def test_output_that_cannot_be_made_is_73(cli: Cli, sample_data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    run = cli("predict", sample_data / "digits", "--output", tmp_path / "file" / "out")
    assert run.code == 73
    assert len(run.stderr.splitlines()) == 1
    assert run.stderr.endswith("must be a writable folder, but: Not a directory; choose another --output\n")


def test_foreign_output_folder_is_73(cli: Cli, sample_data: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    run = cli("predict", sample_data / "digits", "--output", tmp_path)
    assert run.code == 73
    assert "holds thesis.tex" in run.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    run = cli("predict", sample_data / "digits", "--output", tmp_path, "--overwrite")
    assert run.code == 73


def read_files(folder: Path) -> dict[Path, str | None]:
    """The text of each file in a folder; None for a folder in it."""
    return {path: path.read_text() if path.is_file() else None for path in folder.rglob("*")}


FOREIGN = [
    {"_work/": "", "predictions/mine.csv": "precious"},
    {"_work/": "", "notes.txt": "precious"},
    {"_work/commit.json": '{"x": 1}'},
    {"_work/run.json": '{"x": 1}'},
    {"_work/predictions/mine.csv": "precious"},
    {"_work/run.json": '{"fingerprint": "f", "facts": {}}', "predictions/mine.csv": "precious"},
    {"_work/run.json": '{"fingerprint": "f", "facts": {}}', "report.json": "precious"},
    {"manifest.json": '{"fingerprint": "f"}', "predictions/mine.csv": "precious"},
]


@pytest.mark.parametrize("files", FOREIGN, ids=" ".join)
@pytest.mark.parametrize("options", [[], ["--overwrite"]], ids=["", "overwrite"])
def test_foreign_files_with_run_names_are_73(
    options: list[str], files: dict[str, str], cli: Cli, sample_data: Path, tmp_path: Path
) -> None:
    for name, content in files.items():
        path = tmp_path / "own" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(exist_ok=True) if name.endswith("/") else path.write_text(content)
    before = read_files(tmp_path / "own")
    run = cli("predict", sample_data / "digits" / "3", "--output", tmp_path / "own", *options)
    assert (run.code, len(run.stderr.splitlines())) == (73, 1)
    assert read_files(tmp_path / "own") == before


@pytest.mark.parametrize(("name", "why"), [("text.h5", "text.h5"), ("none.keras", "found neither")])
def test_unusable_model_is_78(
    name: str, why: str, cli: Cli, sample_data: Path, tmp_path: Path, left_in: Callable[[Path], set[str]]
) -> None:
    (tmp_path / "text.h5").write_text("not a model")
    run = cli("predict", sample_data / "digits", "--output", tmp_path / "out", "--model", tmp_path / name)
    assert run.code == 78
    assert len(run.stderr.splitlines()) == 1
    assert why in run.stderr
    assert left_in(tmp_path / "out") == set()


@pytest.mark.parametrize("module", ["card", "opening"])
def test_unreadable_model_is_78(
    module: str,
    cli: Cli,
    sample_data: Path,
    tmp_path: Path,
    left_in: Callable[[Path], set[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = tmp_path / "model.h5"
    model.touch()

    def deny(_: Path) -> NoReturn:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(f"mnist_batch.model.{module}.open_regular", deny)  # root may read any file
    run = cli("predict", sample_data / "digits", "--output", tmp_path / "out", "--model", model)
    assert run.code == 78
    assert run.stderr == f"mnist-batch: {model}: a model must be readable, found permission denied: check the path\n"
    assert left_in(tmp_path / "out") == set()


def test_all_broken_containers_are_named(
    cli: Cli, sample_data: Path, tmp_path: Path, left_in: Callable[[Path], set[str]]
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "good.zip").write_bytes((sample_data / "digits.zip").read_bytes())
    (tmp_path / "in" / "bad.zip").write_bytes((sample_data / "digits.zip").read_bytes()[:50_000])
    (tmp_path / "in" / "worse.parquet").write_bytes(b"PAR1")
    run = cli("predict", tmp_path / "in", "--output", tmp_path / "out")
    assert run.code == 65
    assert "bad.zip: zip must be whole" in run.stderr
    assert "worse.parquet: must be readable as Parquet" in run.stderr
    assert len(run.stderr.splitlines()) == 1
    assert left_in(tmp_path / "out") == set()


@pytest.mark.parametrize(
    ("column", "why"),
    [
        (pa.array([[1, 2]]), "Unsupported Type:list"),
        (pa.array([{"x": 1}]), "Unsupported Type:struct"),
        (pa.array([b"\xff"]), "Invalid UTF8"),
    ],
)
def test_column_that_csv_cannot_hold_is_2(
    column: pa.Array, why: str, cli: Cli, sample_data: Path, tmp_path: Path, left_in: Callable[[Path], set[str]]
) -> None:
    path = write_table(tmp_path, {"image": [(sample_data / "digits/0/0_000.png").read_bytes()], "page": column})
    run = cli("predict", path, "--output", tmp_path / "out", "--format", "csv", "--keep", "page")
    assert run.code == 2
    assert len(run.stderr.splitlines()) == 1
    assert why in run.stderr
    assert left_in(tmp_path / "out") == set()
    assert cli("predict", path, "--output", tmp_path / "out", "--keep", "page").code == 0
