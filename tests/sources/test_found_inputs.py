"""Inputs as people have them: which files are rows, each once, and which labels are taken."""

from __future__ import annotations

import gzip
import json
import os
import struct
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from conftest import Cli
from contracts import DIGITS, idx_bytes, read_all, write_files

from mnist_batch import predict
from mnist_batch.config import AutoLabels, ReadOptions
from mnist_batch.errors import InputError
from mnist_batch.sources.discover import Inputs, open_inputs
from mnist_batch.sources.folder_labels import WORDS

PNGS = DIGITS.pngs[:12]
LABELS = DIGITS.labels[:12].tolist()
TABLE = pa.table({"image": PNGS, "label": pa.array(LABELS, pa.int64())})
NAMES = sorted(WORDS)


def opened(path: Path, labels: AutoLabels = AutoLabels.AUTO) -> Inputs:
    return open_inputs((str(path),), ReadOptions(labels=labels))


def ids_of(inputs: Inputs) -> list[str]:
    return [name for batch in read_all(inputs) for name in batch.ids.to_pylist()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "in"
    path.mkdir()
    return path


def test_gzip_copy_is_read_once(folder: Path) -> None:
    images = idx_bytes(DIGITS.pixels)
    write_files(folder, {"a-images-idx3-ubyte": images, "a-images-idx3-ubyte.gz": gzip.compress(images)})
    inputs = opened(folder)
    assert inputs.rows == len(DIGITS.pixels)
    assert inputs.skipped == {"(gzip copy)": 1}
    assert inputs.warnings == [
        f"{folder}/a-images-idx3-ubyte.gz: not read, because a-images-idx3-ubyte beside it has the same content"
    ]


@pytest.mark.parametrize("other", [idx_bytes(255 - DIGITS.pixels), idx_bytes(DIGITS.pixels[:-1])])
def test_gzip_file_that_differs_is_an_error(other: bytes, folder: Path) -> None:
    write_files(
        folder, {"a-images-idx3-ubyte": idx_bytes(DIGITS.pixels), "a-images-idx3-ubyte.gz": gzip.compress(other)}
    )
    with pytest.raises(InputError, match=r"must hold the same as a-images-idx3-ubyte beside it.*but differs"):
        opened(folder)


def test_linked_files_are_read_once(folder: Path) -> None:
    """The cache of Hugging Face: files by their digest, and links to them by name."""
    write_files(folder, {"blobs/77ab": PNGS[0], "blobs/88ab": PNGS[1], "blobs/99ab": PNGS[2]})
    pq.write_table(TABLE, folder / "blobs" / "aa")
    for name, blob in (("test/3/x.png", "77ab"), ("a/y.png", "88ab"), ("b/y.png", "88ab"), ("t.parquet", "aa")):
        link = folder / "snapshots" / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(folder / "blobs" / blob)
    (folder / "latest").symlink_to("snapshots")
    inputs = opened(folder)
    images = [name for name in ids_of(inputs) if "#" not in name]
    assert images == ["blobs/99ab", "latest/a/y.png", "latest/test/3/x.png"]
    assert inputs.rows == 3 + len(PNGS)
    assert inputs.skipped == {"(link to a file that is read)": 1 + 2 + 2 + 2 + 1}


def test_hard_links_are_rows_of_their_own(folder: Path) -> None:
    write_files(folder, {"a.png": PNGS[0]})
    os.link(folder / "a.png", folder / "b.png")
    assert opened(folder).rows == 2


def test_links_between_inputs_are_read_once(tmp_path: Path) -> None:
    write_files(tmp_path, {"run1/a.png": PNGS[0]})
    (tmp_path / "latest").symlink_to("run1")
    inputs = open_inputs((str(tmp_path / "run1"), str(tmp_path / "latest")), ReadOptions())
    assert ids_of(inputs) == ["latest/a.png"]


@pytest.mark.parametrize(
    "name",
    [
        "_temporary/0/x.png", ".thumbnails/x.png", "@eaDir/x.png", "__MACOSX/x.png", "a/_b/c/x.png", ".x.jpg.Xa12b",
        "x.jpg~", "x.part", "x.tmp", "x.png.crdownload", "x.png.bak", ".hidden.png",
    ],
)  # fmt: skip
@pytest.mark.parametrize("form", ["folder", "zip"])
def test_hidden_files_are_skipped(form: str, name: str, folder: Path) -> None:
    files = {name: PNGS[0], "_a.png": PNGS[1], "./b/0/c.png": PNGS[2]}
    if form == "folder":
        write_files(folder, files)
    else:
        with zipfile.ZipFile(folder / "a.zip", "w") as archive:
            for path, content in files.items():
                archive.writestr(path, content)
    inputs = opened(folder)
    assert inputs.rows == 2
    assert sum(inputs.skipped.values()) == 1


def test_named_file_is_read_whatever_its_name(folder: Path) -> None:
    write_files(folder, {"_x/.a.png": PNGS[0]})
    assert ids_of(opened(folder / "_x" / ".a.png")) == [".a.png"]
    write_files(folder, {"_x/b.png": PNGS[0]})
    assert ids_of(opened(folder / "_x")) == ["b.png"]


@pytest.mark.parametrize(
    ("log", "kind"),
    [("_delta_log/00000000000000000001.json", "Delta Lake"), (".hoodie/hoodie.properties", "Hudi"),
     ("metadata/v1.metadata.json", "Iceberg")],
)  # fmt: skip
def test_table_formats_are_refused(log: str, kind: str, folder: Path) -> None:
    write_files(folder, {f"t/{log}": b"{}"})
    pq.write_table(TABLE, folder / "t" / "old.parquet")
    with pytest.raises(InputError, match=rf"in/t: must hold only files to be scored, but is an? {kind} table"):
        opened(folder)


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (["[Content_Types].xml", "word/media/image1.png"], "Office document"),
        (["word/media/image1.png", "[Content_Types].xml"], "Office document"),
        (["mimetype", "OEBPS/a.png"], "OpenDocument or EPUB document"),
        (["META-INF/MANIFEST.MF", "icon.png"], "Java archive"),
        (["AndroidManifest.xml", "res/a.png", "META-INF/MANIFEST.MF"], "Android app"),
        (["metadata.json", "config.json", "model.weights.h5"], "Keras model"),
    ],
)
def test_documents_and_programs_are_skipped(names: list[str], kind: str, folder: Path) -> None:
    write_files(folder, {"scan.png": PNGS[0]})
    with zipfile.ZipFile(folder / "a", "w") as archive:
        for name in names:
            archive.writestr(name, PNGS[1])
    inputs = opened(folder)
    assert ids_of(inputs) == ["scan.png"]
    assert inputs.skipped == {f"({kind})": 1}
    with pytest.raises(InputError, match=f"a: must be a collection of images, is {kind}: name the images themselves"):
        opened(folder / "a")


def test_labels_by_position_need_numbered_rows(cli: Cli, folder: Path, tmp_path: Path) -> None:
    write_files(folder, {f"{row}.png": png for row, png in enumerate(PNGS)})
    (tmp_path / "labels").write_bytes(idx_bytes(DIGITS.labels[:12]))
    run = cli("predict", folder, "--output", tmp_path / "out", "--labels", tmp_path / "labels")
    assert run.code == 65
    assert "labels by position must belong to rows of a numbered file" in run.stderr


def write_hugging_face(path: Path, labels: list[int], names: list[str]) -> None:
    features = {"label": {"names": names, "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    table = pa.table({"image": PNGS, "label": pa.array(labels, pa.int64())})
    pq.write_table(table.replace_schema_metadata(metadata), path)


@pytest.mark.parametrize("names", [NAMES, [str(digit) for digit in reversed(range(10))], [str(d) for d in range(10)]])
def test_class_labels_are_mapped_through_their_names(names: list[str], folder: Path) -> None:
    def index(label: int) -> int:
        return names.index(WORDS[label] if names is NAMES else str(label))

    write_hugging_face(folder / "a.parquet", [index(label) for label in LABELS], names)
    assert [label for batch in read_all(opened(folder)) for label in batch.labels.to_pylist()] == LABELS


def test_class_labels_of_other_names_are_an_error(folder: Path) -> None:
    write_hugging_face(folder / "a.parquet", LABELS, ["cat", "dog", *WORDS[2:]])
    with pytest.raises(InputError, match="must be digits or words for digits, are cat, dog"):
        opened(folder)
    assert opened(folder, labels=AutoLabels.NONE).rows == len(PNGS)


def test_label_table_that_matches_few_rows_is_a_warning(folder: Path, tmp_path: Path) -> None:
    write_files(folder, {f"{row}.png": png for row, png in enumerate(PNGS)})
    rows = [f"{row}.{'png' if row < 3 else 'jpg'},{label}" for row, label in enumerate(LABELS)]
    (tmp_path / "labels.csv").write_text("\n".join(["id,label", *rows]))
    result = predict(folder, output=tmp_path / "out", labels=tmp_path / "labels.csv")
    assert (result.labelled, result.predicted) == (3, 12)
    (warning,) = [line for line in result.warnings if "labels.csv" in line]
    assert "3 of its 12 ids are ids of predictions, and 9 of 12 predictions have no label" in warning
    assert "(the first of its ids that is not one is '3.jpg')" in warning


def test_wrong_labels_are_a_warning(sample_data: Path, tmp_path: Path) -> None:
    ids = [str(path.relative_to(sample_data / "digits")) for path in sorted((sample_data / "digits").rglob("*.png"))]
    rows = [f"{name},{(int(name[0]) + 1) % 10}" for name in ids]
    (tmp_path / "labels.csv").write_text("\n".join(["id,label", *rows]))
    result = predict(sample_data / "digits", output=tmp_path / "out", labels=tmp_path / "labels.csv")
    assert any("near chance" in line and "probably not those of these images" in line for line in result.warnings)


def test_images_that_cannot_be_decoded_are_rejects(folder: Path) -> None:
    heic = b"\0\0\0\x18ftypheic" + bytes(400)
    pgm = b"P5 # a comment\n28 28\n255\n" + DIGITS.pixels[1].tobytes()
    files = {
        "a.png": PNGS[0],
        "b.HEIC": heic,
        "c": heic,
        "d.pgm": pgm,
        "e": pgm,
        "f.7z": b"7z\xbc\xaf\x27\x1c",
        "g.tga": b"\0",
    }
    write_files(folder, files)
    inputs = opened(folder)
    batches = list(read_all(inputs))
    assert ids_of(inputs) == ["a.png", "d.pgm", "e"]
    rejects = {reject.id: (str(reject.reason), reject.detail) for batch in batches for reject in batch.rejects}
    heic_reject = ("undecodable", "a HEIC image: convert it to PNG or JPEG")
    assert rejects == {"b.HEIC": heic_reject, "c": heic_reject, "g.tga": ("not_an_image", "begins with 00")}
    assert inputs.warnings == [
        f"{folder}: skipped files may hold images: 1 x .7z; unpack or convert what should be scored"
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.h5", b"\x89HDF\r\n\x1a\n" + bytes(99), "is an HDF5 file: save the images as"),
        (
            "a-images-idx3-ubyte.gz",
            b"version https://git-lfs.github.com/spec/v1\n",
            "is a pointer of Git LFS: run",
        ),
        (
            "a.zip",
            b"<!DOCTYPE html><html>",
            "as its name says, but is an HTML page: fetch the",
        ),
        ("a", b"\1\2\3", "begins with 01 02 03: check the file"),
    ],
)
def test_other_formats_are_named(name: str, content: bytes, message: str, folder: Path) -> None:
    write_files(folder, {name: content})
    with pytest.raises(InputError) as caught:
        opened(folder / name)
    assert message in str(caught.value)


@pytest.mark.parametrize("shape", [(12, 28, 28, 1), (12, 784)])
def test_idx_of_other_dimensions(shape: tuple[int, ...], folder: Path) -> None:
    header = b"\0\0\x08" + bytes([len(shape)]) + struct.pack(f">{len(shape)}I", *shape)
    qmnist = b"\0\0\x0c\x02" + struct.pack(">2I", 12, 8) + np.array([[y, *[99] * 7] for y in LABELS], ">i4").tobytes()
    files = {"x-images-idx3-ubyte": header + DIGITS.pixels[:12].tobytes(), "x-labels-idx1-ubyte": qmnist}
    write_files(folder, files)
    (batch,) = read_all(opened(folder))
    assert batch.labels.to_pylist() == LABELS
    assert np.array_equal(batch.pixels, DIGITS.pixels[:12])


@pytest.mark.parametrize("shape", [(12, 10), (12, 28, 28, 3), (9408,)])
def test_idx_of_something_else_is_named(shape: tuple[int, ...], folder: Path) -> None:
    header = b"\0\0\x08" + bytes([len(shape)]) + struct.pack(f">{len(shape)}I", *shape)
    write_files(folder, {"a": header + DIGITS.pixels[:12].tobytes()})
    with pytest.raises(InputError, match="must begin with 00 00 08 03, this one begins with 00 00 08"):
        opened(folder / "a")


@pytest.mark.parametrize("name", ["labels.parquet", "metadata.parquet", "labels.csv", "metadata.csv", "Labels.csv"])
def test_tables_of_labels_beside_images(name: str, folder: Path, tmp_path: Path) -> None:
    """They never end a run, and `--labels` may name them."""
    write_files(folder, {f"{row}.png": png for row, png in enumerate(PNGS)})
    table = pa.table({"file_name": [f"{row}.png" for row in range(12)], "label": LABELS})
    if name.endswith(".parquet"):
        pq.write_table(table, folder / name)
    else:
        pa.csv.write_csv(table, folder / name)
    inputs = opened(folder)
    assert (inputs.rows, inputs.labelled, inputs.skipped, inputs.warnings) == (12, True, {}, [])
    result = predict(folder, output=tmp_path / "out", labels=folder / name)
    assert result.to_pandas().set_index("id")["label"].to_dict() == dict(
        zip(table["file_name"].to_pylist(), LABELS, strict=True)
    )
    assert not any("may hold labels" in line for line in result.warnings)


def test_images_in_a_file_with_the_name_of_a_label_table(folder: Path) -> None:
    pq.write_table(TABLE, folder / "metadata.parquet")
    assert (opened(folder).rows, opened(folder).warnings) == (12, [])
