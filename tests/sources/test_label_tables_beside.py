"""Tables of labels beside image files are taken, if it is certain what they mean."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from contracts import DIGITS, ids_of, labels_of, opened, write_files

from mnist_batch import predict
from mnist_batch.config import AutoLabels, ReadOptions

NAMES = [f"{row:04}.png" for row in range(12)]
LABELS = DIGITS.labels[:12].tolist()
IMAGES = dict(zip(NAMES, DIGITS.pngs[:12], strict=True))


def csv_of(names: list[str], labels: list[int], header: str = "id,label", delimiter: str = ",") -> bytes:
    rows = [f"{name}{delimiter}{label}" for name, label in zip(names, labels, strict=True)]
    return "\n".join([header, *rows, ""]).encode()


def jsonl_of(names: list[str], labels: list[int]) -> bytes:
    rows = [json.dumps({"file_name": name, "label": label}) for name, label in zip(names, labels, strict=True)]
    return "\n".join([*rows, ""]).encode()


def parquet_of(names: list[str], labels: list[int]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"file_name": names, "label": labels}), sink)
    return sink.getvalue().to_pybytes()


FORMS: dict[str, Callable[[], bytes]] = {
    "labels.csv": lambda: csv_of(NAMES, LABELS),
    "Labels.CSV": lambda: csv_of([name.removesuffix(".png") for name in NAMES], LABELS, "image;digit", ";"),
    "labels.csv.gz": lambda: gzip.compress(csv_of(NAMES, LABELS), mtime=0),
    "labels.tsv": lambda: csv_of(NAMES, LABELS, "filename\tclass", "\t"),
    "metadata.csv": lambda: csv_of(NAMES, LABELS, "file_name,label"),
    "metadata.jsonl": lambda: jsonl_of(NAMES, LABELS),
    "metadata.parquet": lambda: parquet_of(NAMES, LABELS),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_files(tmp_path / "in", IMAGES)


@pytest.mark.parametrize("name", FORMS)
def test_table_beside_images_gives_labels(name: str, folder: Path) -> None:
    write_files(folder, {name: FORMS[name]()})
    inputs = opened(folder)
    assert (ids_of(inputs), labels_of(inputs)) == (NAMES, LABELS)
    assert (inputs.labelled, inputs.skipped, inputs.warnings) == (True, {}, [])
    assert labels_of(opened(folder, options=ReadOptions(labels=AutoLabels.NONE))) == [None] * 12


def test_jsonl_is_a_label_file(folder: Path, tmp_path: Path) -> None:
    write_files(tmp_path, {"truth.jsonl": jsonl_of(NAMES, LABELS)})
    assert predict(folder, output=tmp_path / "out", labels=tmp_path / "truth.jsonl").accuracy == 1


def test_tables_label_their_own_folders(tmp_path: Path) -> None:
    for part, shift in (("a", 0), ("b/c", 1)):
        labels = [(label + shift) % 10 for label in LABELS]
        write_files(tmp_path / "in" / part, IMAGES | {"labels.csv": csv_of(NAMES, labels)})
    write_files(tmp_path / "in", {"other.png": DIGITS.pngs[0]})
    inputs = opened(tmp_path / "in")
    assert labels_of(inputs) == [*LABELS, *((label + 1) % 10 for label in LABELS), None]
    assert inputs.warnings == []


def test_table_may_name_folders(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "in", {f"img/{name}": png for name, png in IMAGES.items()})
    write_files(folder, {"labels.csv": csv_of([f"img/{name}" for name in NAMES], LABELS)})
    assert labels_of(opened(folder)) == LABELS


def test_images_that_are_not_in_the_table_are_counted(folder: Path) -> None:
    write_files(folder, {"labels.csv": csv_of([*NAMES[:9], "x.png"], [*LABELS[:9], 0])})
    inputs = opened(folder)
    assert labels_of(inputs) == [*LABELS[:9], None, None, None]
    assert inputs.warnings == [
        f"{folder}/labels.csv: 9 of its 10 ids are images below it, and 3 of 12 images are not in it"
    ]


def test_labels_that_differ_are_not_taken(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "in", {f"{LABELS[row]}/{NAMES[row]}": DIGITS.pngs[row] for row in range(12)})
    names = [name for _, name in sorted(zip(map(str, LABELS), NAMES, strict=True))]
    right = [label for label, _ in sorted(zip(LABELS, NAMES, strict=True))]
    write_files(folder, {"labels.csv": csv_of(names, [(right[0] + 1) % 10, *right[1:]])})
    inputs = opened(folder)
    assert labels_of(inputs) == [None, *right[1:]]
    (warning,) = inputs.warnings
    assert "labels.csv: 1 of its labels differ from those of folders" in warning
    assert f"{right[0]}/{names[0]}" in warning


def test_third_label_does_not_decide(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "in", {"3/a.png": DIGITS.pngs[0]})
    write_files(folder, {"labels.csv": b"id,label\n3/a.png,4\n", "metadata.csv": b"id,label\n3/a.png,4\n"})
    assert labels_of(opened(folder)) == [None]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"file_name,caption\n0000.png,a digit\n", "labels must have the columns id and label"),
        (csv_of(NAMES, [label + 5 for label in LABELS]), r"labels must be digits 0\.\.9"),
        (csv_of([NAMES[0]] * 2, LABELS[:2]), "every id must occur once"),
        (b"\0\xff\xfe", "labels must"),
        (b"", "labels must"),
    ],
    ids=["captions", "classes", "repeated", "binary", "empty"],
)
def test_other_table_is_a_warning(content: bytes, why: str, folder: Path, tmp_path: Path) -> None:
    write_files(folder, {"labels.csv": content})
    inputs = opened(folder)
    assert labels_of(inputs) == [None] * 12
    (warning,) = inputs.warnings
    assert warning.startswith(f"not taken as labels: {folder}/labels.csv")
    assert why.replace("\\", "") in warning
    assert predict(folder, output=tmp_path / "out").exit_code == 0


def test_table_beside_containers_is_a_warning(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "in", {"labels.csv": csv_of(NAMES, LABELS)})
    pq.write_table(pa.table({"image": DIGITS.pngs[:3]}), folder / "a.parquet")
    (warning,) = opened(folder).warnings
    assert warning.endswith("labels.csv: may hold labels, but no image files are beside it: name it with --labels")
