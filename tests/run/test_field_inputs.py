"""Inputs that people really have, through `predict`: ids, labels, counts, exit code and warnings of each kind.

The letters group them: A files that are no rows of their own, B documents, C labels that are none, D images of unusual
kinds, E formats and tables of labels, F formats that are not read.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Cli
from contracts import (
    CUBE,
    DIGITS,
    SPARK,
    Array,
    Digits,
    idx_bytes,
    write_files,
    write_idx_pair,
    write_parquet,
    write_zip,
)
from markupsafe import escape

from mnist_batch.sources.folder_labels import WORDS

# Two of each class, the classes taking turns.
FEW = Digits(DIGITS.pixels[:20], DIGITS.labels[:20])
PNGS, LABELS, ROWS = FEW.pngs, FEW.labels.tolist(), 20
TABLE = {"image": PNGS, "label": pa.array(LABELS, pa.int64())}
FLAT = FEW.pixels.reshape(ROWS, 784)
IMAGES, IMAGE_LABELS = idx_bytes(FEW.pixels), idx_bytes(FEW.labels)
NO_LABELS = [None] * ROWS


@dataclass(frozen=True)
class Case:
    """What a run over an input must give.

    arguments: INPUT and options.
    ids, labels: of the predicted rows.
    rejects: the reason of each rejected row.
    warnings: a pattern for each line.
    error: a pattern for the line on stderr if the exit code is not 0.
    """

    arguments: Sequence[object]
    ids: Sequence[str] = ()
    labels: Sequence[int | None] = ()
    rejects: Mapping[str, str] = field(default_factory=dict)
    skipped: Mapping[str, int] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    code: int = 0
    error: str = ""


def numbered(name: str, rows: int = ROWS) -> list[str]:
    return [f"{name}#{row}" for row in range(rows)]


def sorted_rows(names: Sequence[str], labels: Sequence[int | None]) -> tuple[list[str], list[int | None]]:
    """Names of files and their labels in the order in which files are read."""
    pairs = sorted(zip(names, labels, strict=True))
    return [name for name, _ in pairs], [label for _, label in pairs]


def write_images(folder: Path, names: Sequence[str]) -> None:
    write_files(folder, dict(zip(names, PNGS, strict=True)))


def files_case(folder: Path, names: Sequence[str], labels: Sequence[int | None], **expected: object) -> Case:
    write_images(folder, names)
    ids, labels = sorted_rows(names, labels)
    return Case([folder], ids, labels, **expected)  # type: ignore[arg-type]  # the fields of a Case


def csv_text(header: Sequence[str] = (), labels: bool = True) -> bytes:
    rows = np.column_stack([FEW.labels, FLAT]) if labels else FLAT
    lines = [",".join(map(str, row)) for row in rows.tolist()]
    return "\n".join([*([",".join(header)] if header else []), *lines, ""]).encode()


PIXEL_NAMES = [f"pixel{position}" for position in range(784)]


def a1_file_beside_its_gzip(folder: Path) -> Case:
    path = write_idx_pair(folder, FEW.pixels, FEW.labels)
    path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    warning = f"{path.name}.gz: not read, because {path.name} beside it has the same content"
    return Case([folder], numbered(path.name), LABELS, skipped={"(gzip copy)": 1}, warnings=[warning])


def a1_file_beside_another_gzip(folder: Path) -> Case:
    path = write_idx_pair(folder, FEW.pixels, FEW.labels)
    path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(idx_bytes(255 - FEW.pixels)))
    return Case([folder], code=65, error=f"{path.name}.gz: must hold the same as {path.name} beside it")


def a2_links_of_the_hugging_face_cache(folder: Path) -> Case:
    (folder / "blobs").mkdir()
    (folder / "snapshots/abc").mkdir(parents=True)
    write_parquet(folder / "blobs/77ab", TABLE)
    (folder / "snapshots/abc/test.parquet").symlink_to("../../blobs/77ab")
    return Case([folder], numbered("blobs/77ab"), LABELS, skipped={"(link to a file that is read)": 1})


def a2_images_reached_by_a_link_to_their_folder(folder: Path) -> Case:
    names = [f"scans/{label}/{row}.png" for row, label in enumerate(LABELS)]
    write_images(folder, names)
    (folder / "latest").symlink_to("scans")
    ids, labels = sorted_rows([name.replace("scans", "latest") for name in names], LABELS)
    return Case([folder], ids, labels, skipped={"(link to a file that is read)": ROWS})


def a3_unfinished_and_hidden_files(folder: Path) -> Case:
    hidden = ("_temporary/0/1.png", ".thumbnails/1.png", "@eaDir/1.png", ".x.jpg.Xa12b", "x.jpg~", "x.part", "x.tmp")
    write_files(folder, {**dict.fromkeys(hidden, PNGS[0]), "_DSC1.png": PNGS[1]})
    skipped = {"_temporary/": 1, ".thumbnails/": 1, "@eaDir/": 1, ".xa12b": 1, ".jpg~": 1, ".part": 1, ".tmp": 1}
    return Case([folder], ["_DSC1.png"], [None], skipped=skipped)


def a4_delta_table(folder: Path) -> Case:
    write_parquet(folder / "old.parquet", TABLE)
    write_files(folder, {"_delta_log/00000000000000000001.json": b"{}"})
    return Case([folder], code=65, error="Delta")


def b1_picture_in_a_document(folder: Path) -> Case:
    write_files(folder, {"scan.png": PNGS[1]})
    write_zip(folder / "letter.docx", {"[Content_Types].xml": b"<Types/>", "word/media/image1.png": PNGS[0]})
    return Case([folder], ["scan.png"], [None], skipped={"(Office document)": 1})


def b1_document_as_the_input(folder: Path) -> Case:
    path = write_zip(folder / "app.jar", {"META-INF/MANIFEST.MF": b"x", "icon.png": PNGS[0]})
    return Case([path], code=65, error="must be a collection of images, is Java archive")


def c1_days_are_no_labels(folder: Path) -> Case:
    names = [f"2026/11/{1 + row % 9}/{row}.png" for row in range(ROWS)]
    return files_case(folder, names, NO_LABELS, warnings=["20 images are in folders that look like dates"])


def c2_folds_are_no_labels(folder: Path) -> Case:
    names = [f"{label}/{row % 3}/{row}.png" for row, label in enumerate(LABELS)]
    return files_case(folder, names, NO_LABELS, warnings=["20 images are below two folders named by a digit.*--labels"])


def c3_labels_by_position_for_files(folder: Path) -> Case:
    write_images(folder, [f"in/{row}.png" for row in range(ROWS)])
    write_files(folder, {"labels-idx1-ubyte": IMAGE_LABELS})
    arguments = [folder / "in", "--labels", folder / "labels-idx1-ubyte"]
    return Case(arguments, code=65, error="labels by position must belong to rows of a numbered file.*id and label")


def _class_labels(folder: Path, names: Sequence[str], labels: Sequence[int]) -> Path:
    image = pa.array(FEW.structs, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    table = pa.table({"image": image, "label": pa.array(labels, pa.int64())}).replace_schema_metadata(metadata)
    pq.write_table(table, folder / "c.parquet")
    return folder / "c.parquet"


def c4_class_indices_of_words(folder: Path) -> Case:
    names = sorted(WORDS)
    path = _class_labels(folder, names, [names.index(WORDS[label]) for label in LABELS])
    return Case([path], numbered("c.parquet"), LABELS)


def c4_class_indices_of_other_names(folder: Path) -> Case:
    path = _class_labels(folder, ["cat", "dog"], [0, 1] * 10)
    return Case([path], code=65, error="cat, dog")


def c5_label_table_of_other_files(folder: Path) -> Case:
    names = [f"in/{row}.png" for row in range(ROWS)]
    write_images(folder, names)
    rows = [f"{row}.{'png' if row < 5 else 'jpg'},{label}\n" for row, label in enumerate(LABELS)]
    write_files(folder, {"labels.csv": "".join(["id,label\n", *rows]).encode()})
    ids, labels = sorted_rows([f"{row}.png" for row in range(ROWS)], [*LABELS[:5], *[None] * 15])
    warning = r"5 of its 20 ids are ids of .*, and 15 of 20 .* have no label .*'5\.jpg'"
    return Case([folder / "in", "--labels", folder / "labels.csv"], ids, labels, warnings=[warning])


def chance_level_accuracy(folder: Path) -> Case:
    pixels, wrong_labels = np.tile(DIGITS.pixels, (2, 1, 1)), np.roll(np.tile(DIGITS.labels, 2), 1)
    path = write_idx_pair(folder, pixels, wrong_labels)
    ids = numbered(path.name, len(pixels))
    warnings = ["the labels are probably not those of these images", "look at the images in report.html"]
    return Case([path], ids, wrong_labels.tolist(), warnings=warnings)


def d1_pages_of_a_tiff(folder: Path) -> Case:
    assert cv2.imwritemulti(str(folder / "scan.tif"), [cv2.resize(255 - image, (112, 112)) for image in FEW.pixels[:3]])
    ids = ["scan.tif", "scan.tif:page2", "scan.tif:page3"]
    return Case([folder / "scan.tif"], ids, [None] * 3, warnings=["3 of 3 images were not in MNIST form"])


def d1_pages_in_an_archive(folder: Path) -> Case:
    assert cv2.imwritemulti(str(folder / "scan.tif"), [cv2.resize(255 - image, (112, 112)) for image in FEW.pixels[:3]])
    path = write_zip(folder / "a.zip", {"scan.tif": (folder / "scan.tif").read_bytes(), "1.png": PNGS[0]})
    return Case([path], ["a.zip!1.png"], [None], rejects={"a.zip!scan.tif": "several_pages"})


def d1_animation(folder: Path) -> Case:
    animation = cv2.Animation()
    animation.frames = [cv2.cvtColor(image, cv2.COLOR_GRAY2BGRA) for image in FEW.pixels[:2]]
    animation.durations = np.array([100, 100])  # type: ignore[assignment]  # OpenCV takes no list here, as its stub says
    assert cv2.imwriteanimation(str(folder / "a.webp"), animation)
    warnings = ["1 of 1 images were not in MNIST form", r"several frames \(animations\): 1, of each only the first"]
    return Case([folder], ["a.webp"], [None], warnings=warnings)


def d2_images_that_are_not_read(folder: Path) -> Case:
    heic = struct.pack(">I", 24) + b"ftypheic" + bytes(400)
    files = {"a.png": PNGS[0], "b.HEIC": heic, "c.pgm": b"P5 28 28 255\n" + FEW.pixels[1].tobytes(), "d.pdf": b"%PDF-1"}
    write_files(folder, {**files, "e.7z": b"7z\xbc\xaf\x27\x1c" + bytes(50)})
    return Case(
        [folder],
        ["a.png", "c.pgm"],
        [None, None],
        {"b.HEIC": "undecodable", "d.pdf": "undecodable"},
        {".7z": 1},
        ["skipped files may hold images: 1 x .7z"],
    )


def _csv(name: str, content: bytes, labels: Sequence[int | None] = tuple(LABELS)) -> Callable[[Path], Case]:
    def write(folder: Path) -> Case:
        write_files(folder, {name: content})
        return Case([folder / name], numbered(name), labels)

    return write


def e1_csv_of_unclear_labels(folder: Path) -> Case:
    content = "".join(f"{row % 10},{','.join(['0'] * 783)},{row % 7}\n" for row in range(20)).encode()
    write_files(folder, {"a.csv": content})
    return Case([folder / "a.csv"], code=65, error="--label-column first, last or none")


def e1_csv_in_a_zip(folder: Path) -> Case:
    path = write_zip(folder / "archive.zip", {"mnist_train.csv": csv_text(["label", *PIXEL_NAMES])})
    return Case([path], numbered("archive.zip!mnist_train.csv"), LABELS)


def e1_submission_beside_images(folder: Path) -> Case:
    write_files(folder, {"1.png": PNGS[0], "sample_submission.csv": b"ImageId,Label\n1,0\n2,0\n"})
    return Case([folder], ["1.png"], [None], skipped={".csv": 1})


def _parquet(image: Callable[[], Mapping[str, object]]) -> Callable[[Path], Case]:
    def write(folder: Path) -> Case:
        write_parquet(folder / "e.parquet", {**image(), "label": TABLE["label"]})
        return Case([folder / "e.parquet"], numbered("e.parquet"), LABELS)

    return write


def e3_npy_with_labels_beside(folder: Path) -> Case:
    np.save(folder / "x_test.npy", FEW.pixels)
    np.save(folder / "y_test.npy", FEW.labels)
    return Case([folder / "x_test.npy"], numbered("x_test.npy"), LABELS)


def e3_npy_with_labels_by_option(folder: Path) -> Case:
    np.save(folder / "digits.npy", FEW.pixels)
    np.save(folder / "truth.npy", FEW.labels)
    return Case([folder / "digits.npy", "--labels", folder / "truth.npy"], numbered("digits.npy"), LABELS)


def _npz(array: str = "", **arrays: Array) -> Callable[[Path], Case]:
    def write(folder: Path) -> Case:
        np.savez(folder / "e.npz", **arrays)  # type: ignore[arg-type]  # its stub takes them for its own options
        images = array or next(name for name, values in arrays.items() if values.ndim > 1)
        path = f"{folder / 'e.npz'}{':' + array if array else ''}"
        return Case([path], numbered(f"e.npz:{images}"), LABELS)

    return write


def _label_option(name: str, text: str) -> Callable[[Path], Case]:
    def write(folder: Path) -> Case:
        names = [f"{row:02}.png" for row in range(ROWS)]
        write_images(folder / "in", names)
        write_files(folder, {name: text.encode()})
        return Case([folder / "in", "--labels", folder / name], names, LABELS)

    return write


def _table_beside(name: str, content: bytes) -> Callable[[Path], Case]:
    def write(folder: Path) -> Case:
        names = [f"{row:02}.png" for row in range(ROWS)]
        write_files(folder, {name: content})
        return files_case(folder, names, LABELS)

    return write


def _rows(header: str, separator: str, suffix: str = ".png") -> str:
    return "".join([header, *(f"{row:02}{suffix}{separator}{label}\n" for row, label in enumerate(LABELS))])


def _parquet_bytes(columns: Mapping[str, object]) -> bytes:
    content = io.BytesIO()
    pq.write_table(pa.table(dict(columns)), content)
    return content.getvalue()


def e7_label_column_that_is_none(folder: Path) -> Case:
    write_parquet(folder / "e.parquet", {"image": PNGS, "class": pa.array([label * 7 for label in LABELS])})
    return Case(
        [folder / "e.parquet"],
        numbered("e.parquet"),
        NO_LABELS,
        warnings=["columns such as class may hold labels.*--label-column"],
    )


def e7_partitions(folder: Path) -> Case:
    for label in (3, 5):
        (folder / f"label={label}").mkdir()
        write_parquet(folder / f"label={label}/p.parquet", {"image": PNGS[:2]})
    ids = [*numbered("label=3/p.parquet", 2), *numbered("label=5/p.parquet", 2)]
    return Case([folder], ids, [3, 3, 5, 5])


def _folders(form: Callable[[int], str]) -> Callable[[Path], Case]:
    def write(folder: Path) -> Case:
        return files_case(folder, [f"{form(label)}/{row}.png" for row, label in enumerate(LABELS)], LABELS)

    return write


def e8_incomplete_folder_names(folder: Path) -> Case:
    names = [f"digit_{label % 9}/{row}.png" for row, label in enumerate(LABELS)]
    return files_case(folder, names, NO_LABELS, warnings=["folders such as digit_0 may name labels"])


def e9_idx_in_a_zip(folder: Path) -> Case:
    members = {"t10k-images-idx3-ubyte": IMAGES, "t10k-labels-idx1-ubyte": IMAGE_LABELS}
    path = write_zip(folder / "gzip.zip", {f"gzip/{name}.gz": gzip.compress(data) for name, data in members.items()})
    return Case([path], numbered("gzip.zip!gzip/t10k-images-idx3-ubyte.gz"), LABELS)


def e9_npz_in_a_zip(folder: Path) -> Case:
    content = io.BytesIO()
    np.savez_compressed(content, x_test=FEW.pixels, y_test=FEW.labels)
    path = write_zip(folder / "a.zip", {"mnist.npz": content.getvalue()})
    return Case([path], numbered("a.zip!mnist.npz:x_test"), LABELS)


def _named(name: str, content: bytes, error: str) -> Callable[[Path], Case]:
    def write(folder: Path) -> Case:
        write_files(folder, {name: content})
        return Case([folder / name], code=65, error=error)

    return write


def f2_pointer_in_place_of_an_image(folder: Path) -> Case:
    write_files(folder, {"1.png": PNGS[0], "2.png": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"})
    return Case([folder], ["1.png"], [None], {"2.png": "not_an_image"})


def f2_pointer_in_place_of_a_container(folder: Path) -> Case:
    write_files(
        folder, {"1.png": PNGS[0], "t10k-images-idx3-ubyte.gz": b"version https://git-lfs.github.com/spec/v1\n"}
    )
    return Case([folder], code=65, error="is a pointer of Git LFS: run `git lfs pull`")


def f3_idx_of_four_dimensions(folder: Path) -> Case:
    write_files(folder, {"t10k-images-idx4-ubyte": idx_bytes(FEW.pixels[..., None])})
    return Case([folder], numbered("t10k-images-idx4-ubyte"), NO_LABELS)


def f3_labels_of_qmnist(folder: Path) -> Case:
    table = np.zeros((ROWS, 8), np.int32)
    table[:, 0] = LABELS
    files = {"qmnist-test-images-idx3-ubyte": IMAGES, "qmnist-test-labels-idx2-int": idx_bytes(table)}
    write_files(folder, files)
    arguments = [folder / "qmnist-test-images-idx3-ubyte", "--labels", folder / "qmnist-test-labels-idx2-int"]
    return Case(arguments, numbered("qmnist-test-images-idx3-ubyte"), LABELS)


NAMED_FORMATS = {
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(600), "an HDF5 file: save the images as"),
    "pickle": (b"\x80\x04\x95\x1c\0\0\0\0\0\0\0}", "a pickle, which is never loaded"),
    "MATLAB": (b"MATLAB 5.0 MAT-file, Platform" + bytes(600), "a MATLAB file"),
    "Arrow": (b"ARROW1\0\0" + bytes(600), "an Arrow or Feather file: save the table as Parquet"),
    "TFRecord": (struct.pack("<QI", 99, 7) + b"\n" + bytes(99), "a TFRecord file"),
    "PDF": (b"%PDF-1.4\n", "a PDF document: convert its pages to PNG"),
    "xz": (b"\xfd7zXZ\0" + bytes(60), "an xz file: unpack it first"),
    "bz2": (b"BZh91AY&SY" + bytes(60), "a bzip2 file: unpack it first"),
    "zst": (b"\x28\xb5\x2f\xfd" + bytes(60), "a Zstandard file: unpack it first"),
    "7z": (b"7z\xbc\xaf\x27\x1c" + bytes(60), "a 7z archive: unpack it first"),
    "rar": (b"Rar!\x1a\x07\1\0" + bytes(60), "a RAR archive: unpack it first"),
    "LIBSVM": (b"7 153:3 154:18 155:18\n", "LIBSVM text"),
    "optdigits": (b"0,1,6,15,12,1,0,0," * 8 + b"0\n", "8x8 digits"),
    "Semeion": (b"0.0000 1.0000 " * 130 + b"1 0 0 0 0 0 0 0 0 0 \n", "16x16 digits"),
    "HTML": (b"<!DOCTYPE html><html>", "an HTML page: fetch the file itself"),
}
CASES: Mapping[str, Callable[[Path], Case]] = {
    **{name: write for name, write in list(globals().items()) if re.match(r"[a-f]\d_", name)},
    "chance_level_accuracy": chance_level_accuracy,
    "e1_without_header": _csv("e.csv", csv_text()),
    "e1_kaggle_train": _csv("train.csv", csv_text(["label", *PIXEL_NAMES])),
    "e1_kaggle_test": _csv("test.csv", csv_text(PIXEL_NAMES, labels=False), NO_LABELS),
    "e1_1x1_to_28x28": _csv("e.csv", csv_text(["label", *(f"{i // 28 + 1}x{i % 28 + 1}" for i in range(784))])),
    "e1_c0_to_c783": _csv("e.csv", csv_text(["label", *(f"c{i}" for i in range(784))])),
    "e1_gzip": _csv("e.csv.gz", gzip.compress(csv_text(["label", *PIXEL_NAMES]), mtime=0)),
    "e2_784_columns": _parquet(lambda: {f"{i // 28 + 1}x{i % 28 + 1}": FLAT[:, i] for i in range(784)}),
    "e2_lists_of_28x28x1": _parquet(lambda: {"image": pa.array(FEW.cubes, CUBE)}),
    "e2_dictionary": _parquet(lambda: {"image": pa.array(PNGS, pa.binary()).dictionary_encode()}),
    "e2_spark": _parquet(lambda: {"image": pa.array(FEW.spark_images, SPARK)}),
    "e4_train_images": _npz(train_images=FEW.pixels, train_labels=FEW.labels),
    "e4_X_y": _npz(X=FLAT, y=FEW.labels),
    "e4_data_target": _npz(data=FLAT, target=FEW.labels),
    "e4_nchw": _npz(images=FEW.pixels[:, None], labels=FEW.labels),
    "e4_one_array": _npz("train_images", train_images=FEW.pixels, train_labels=FEW.labels),
    "e5_file_name": _label_option("l.csv", _rows("file_name,label\n", ",")),
    "e5_ImageId": _label_option("l.csv", _rows("ImageId;Label\n", ";")),
    "e5_tab": _label_option("l.tsv", _rows("filename\tdigit\n", "\t")),
    "e5_without_header": _label_option("l.csv", _rows("", ",")),
    "e5_without_suffix": _label_option("l.csv", _rows("image,class\n", ",", suffix="")),
    "e5_metadata_csv": _table_beside("metadata.csv", _rows("file_name,label\n", ",").encode()),
    "e5_metadata_jsonl": _table_beside(
        "metadata.jsonl",
        "".join(f'{{"file_name": "{row:02}.png", "label": {label}}}\n' for row, label in enumerate(LABELS)).encode(),
    ),
    "e5_labels_parquet": _table_beside(
        "labels.parquet", _parquet_bytes({"id": [f"{row:02}.png" for row in range(ROWS)], "label": LABELS})
    ),
    "e6_text": lambda folder: Case(
        [write_parquet(folder / "e.parquet", {"image": PNGS, "label": [str(label) for label in LABELS]})],
        numbered("e.parquet"),
        LABELS,
    ),
    "e6_category": lambda folder: Case(
        [write_parquet(folder / "e.parquet", {"image": PNGS, "label": pa.array(map(str, LABELS)).dictionary_encode()})],
        numbered("e.parquet"),
        LABELS,
    ),
    "e7_class": lambda folder: Case(
        [write_parquet(folder / "e.parquet", {"image": PNGS, "class": LABELS})], numbered("e.parquet"), LABELS
    ),
    "e8_00": _folders(lambda label: f"{label:02}"),
    "e8_words": _folders(lambda label: WORDS[label]),
    "e8_digit_3": _folders(lambda label: f"digit_{label}"),
    "e8_class3": _folders(lambda label: f"class{label}"),
    **{f"f1_{name}": _named(name, content, error) for name, (content, error) in NAMED_FORMATS.items()},
}


@pytest.mark.parametrize("name", CASES)
def test_input_gives_its_rows_labels_counts_and_warnings(name: str, cli: Cli, tmp_path: Path) -> None:
    folder, output = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    case = CASES[name](folder)
    run = cli("predict", *case.arguments, "--output", output, "--max-reject-rate", 1)
    assert run.code == case.code, run.stderr
    if case.code:
        assert len(run.stderr.splitlines()) == 1
        assert re.search(case.error, run.stderr)
        return
    predictions = pq.read_table(output / "predictions")
    assert predictions["id"].to_pylist() == list(case.ids)
    assert predictions["label"].to_pylist() == list(case.labels)
    rejects = pq.read_table(output / "rejects").to_pylist() if case.rejects else []
    assert {row["id"]: row["reason"] for row in rejects} == case.rejects
    report = json.loads((output / "report.json").read_text())
    assert report["rows"] == len(case.ids) + len(case.rejects)
    assert report["skipped"] == case.skipped
    assert len(report["warnings"]) == len(case.warnings)
    page = (output / "report.html").read_text()
    for warning, pattern in zip(report["warnings"], case.warnings, strict=True):
        assert re.search(pattern, warning)
        assert warning in run.stderr
        if "look at the images in report.html" not in warning:  # the page says so where it shows the drift
            assert str(escape(warning)) in page
