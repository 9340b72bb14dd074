"""Bad input, as a user gives it: an exit code, one line that says why, and nothing left that looks like output."""

import errno
import gzip
import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest


def idx(*shape, values=b"", magic=None):
    magic = bytes((0, 0, 8, len(shape))) if magic is None else magic
    return magic + b"".join(size.to_bytes(4, "big") for size in shape) + values


def images(rows=2):
    return idx(rows, 28, 28, values=bytes(rows * 784))


def missing(folder):
    return folder / "nothing"


def empty_folder(folder):
    (folder / "empty").mkdir()
    return folder / "empty"


def wrong_magic(folder):
    (folder / "a-images-idx3-ubyte").write_bytes(idx(2, 28, 28, values=bytes(1568), magic=b"\0\0\x08\x07"))
    return folder / "a-images-idx3-ubyte"


def cut_short(folder):
    (folder / "a").write_bytes(images()[:-1])
    return folder / "a"


def too_long(folder):
    (folder / "a").write_bytes(images() + b"\0")
    return folder / "a"


def labels_of_another_count(folder):
    (folder / "a-images-idx3-ubyte").write_bytes(images())
    (folder / "a-labels-idx1-ubyte").write_bytes(idx(3, values=b"\1\2\3"))
    return folder / "a-images-idx3-ubyte"


def labels_outside_the_digits(folder):
    (folder / "a-images-idx3-ubyte").write_bytes(images())
    (folder / "a-labels-idx1-ubyte").write_bytes(idx(2, values=b"\1\x0a"))
    return folder / "a-images-idx3-ubyte"


def table(folder, columns):
    pq.write_table(pa.table(columns), folder / "a.parquet")
    return folder / "a.parquet"


def parquet_without_images(folder):
    return table(folder, {"name": ["x"], "label": [3]})


def parquet_with_two_image_columns(folder):
    return table(folder, {"front": pa.array([bytes(784)]), "back": pa.array([bytes(784)])})


def floats_without_a_range(folder):
    return table(folder, {"image": pa.array([[0.5] * 784], pa.list_(pa.float32()))})


def cut_parquet(folder):
    path = table(folder, {"image": pa.array([bytes(784)])})
    path.write_bytes(path.read_bytes()[:-10])
    return path


def zip_of_texts(folder):
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        archive.writestr("readme.txt", "no images here")
    return folder / "a.zip"


def cut_tar_gz(folder):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in ("0.png", "1.png"):
            info = tarfile.TarInfo(name)
            info.size = 5000
            archive.addfile(info, io.BytesIO(np.random.default_rng(0).bytes(5000)))
    packed = gzip.compress(buffer.getvalue())
    (folder / "a.tar.gz").write_bytes(packed[: len(packed) // 2])
    return folder / "a.tar.gz"


def pickled_npz(folder):
    np.savez(folder / "a.npz", x_test=np.array([{"a": 1}], dtype=object))
    return folder / "a.npz"


def text_file(folder):
    (folder / "a.txt").write_text("hello")
    return folder / "a.txt"


CASES = [
    (missing, 66, "there is no such thing"),
    (empty_folder, 66, "must hold an image, found nothing"),
    (wrong_magic, 65, "must be idx of images (00 00 08 03), as its name says, but begins with 00 00 08 07"),
    (cut_short, 65, "header promises 2 images of 28x28 (1568 bytes), file has 1567 bytes"),
    (too_long, 65, "header promises 2 images of 28x28 (1568 bytes), file has 1569 bytes"),
    (labels_of_another_count, 65, "a label for each of the 2 images of a-images-idx3-ubyte, holds 3"),
    (labels_outside_the_digits, 65, "labels must be digits 0..9, row 1 has 10"),
    (parquet_without_images, 65, "its columns are name (string), label (int64)"),
    (parquet_with_two_image_columns, 65, "name one with --image-column"),
    (floats_without_a_range, 65, "--pixel-range"),
    (cut_parquet, 65, "must be readable as Parquet"),
    (zip_of_texts, 66, "must hold an image, found 1 x .txt"),
    (cut_tar_gz, 65, "tar must be whole"),
    (pickled_npz, 65, "pickled Python objects, which are never loaded"),
    (text_file, 65, "must be an image, idx, npz, zip, tar or Parquet"),
]


@pytest.mark.parametrize(("make", "code", "why"), CASES, ids=[make.__name__ for make, _, _ in CASES])
def test_bad_input_ends_in_one_line_and_no_output(make, code, why, cli, tmp_path, left_in):
    source = make(tmp_path)
    run = cli("predict", source, "--output", tmp_path / "out")
    assert run.code == code
    assert len(run.stderr.splitlines()) == 1
    assert why in run.stderr
    assert str(source.parent) in run.stderr
    assert run.stdout == ""
    assert left_in(tmp_path / "out") == set()


def test_an_output_that_cannot_be_made_is_73(cli, sample_data, tmp_path):
    (tmp_path / "file").write_text("in the way")
    run = cli("predict", sample_data / "digits", "--output", tmp_path / "file" / "out")
    assert run.code == 73
    assert len(run.stderr.splitlines()) == 1
    assert run.stderr.endswith("but: Not a directory; choose another\n")


def test_an_output_folder_that_holds_something_else_is_73_and_untouched(cli, sample_data, tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    run = cli("predict", sample_data / "digits", "--output", tmp_path)
    assert run.code == 73
    assert "holds thesis.tex" in run.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    run = cli("predict", sample_data / "digits", "--output", tmp_path, "--overwrite")
    assert run.code == 73


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
def test_what_only_has_the_names_of_a_run_is_73_and_untouched(options, files, cli, sample_data, tmp_path):
    for name, content in files.items():
        path = tmp_path / "own" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(exist_ok=True) if name.endswith("/") else path.write_text(content)
    before = {path: path.is_file() and path.read_text() for path in (tmp_path / "own").rglob("*")}
    run = cli("predict", sample_data / "digits" / "3", "--output", tmp_path / "own", *options)
    assert (run.code, len(run.stderr.splitlines())) == (73, 1)
    assert {path: path.is_file() and path.read_text() for path in (tmp_path / "own").rglob("*")} == before


@pytest.mark.parametrize(("name", "why"), [("text.h5", "text.h5"), ("none.keras", "found neither")])
def test_an_unusable_model_is_78_and_leaves_no_output(name, why, cli, sample_data, tmp_path, left_in):
    (tmp_path / "text.h5").write_text("no model")
    run = cli("predict", sample_data / "digits", "--output", tmp_path / "out", "--model", tmp_path / name)
    assert run.code == 78
    assert len(run.stderr.splitlines()) == 1
    assert why in run.stderr
    assert left_in(tmp_path / "out") == set()


def test_a_model_that_cannot_be_read_is_78(cli, sample_data, tmp_path, left_in, monkeypatch):
    model = tmp_path / "model.h5"
    model.touch()
    read = Path.open

    def refused(path, *arguments, **options):
        if path == model:
            raise PermissionError(errno.EACCES, "Permission denied")
        return read(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", refused)
    run = cli("predict", sample_data / "digits", "--output", tmp_path / "out", "--model", model)
    assert run.code == 78
    assert run.stderr == f"mnist-batch: {model}: a model must be readable, found permission denied: check the path\n"
    assert left_in(tmp_path / "out") == set()


def test_a_broken_container_among_good_ones_commits_nothing_and_is_named(cli, sample_data, tmp_path, left_in):
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
def test_a_kept_column_that_csv_cannot_hold_is_a_usage_error_and_leaves_no_output(
    column, why, cli, sample_data, tmp_path, left_in
):
    path = table(tmp_path, {"image": [(sample_data / "digits/0/0_000.png").read_bytes()], "page": column})
    run = cli("predict", path, "--output", tmp_path / "out", "--format", "csv", "--keep", "page")
    assert run.code == 2
    assert len(run.stderr.splitlines()) == 1
    assert why in run.stderr
    assert left_in(tmp_path / "out") == set()
    assert cli("predict", path, "--output", tmp_path / "out", "--keep", "page").code == 0
