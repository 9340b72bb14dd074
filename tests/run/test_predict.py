"""`predict` from end to end, on drawn digits."""

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mnist_batch import predict
from mnist_batch.errors import InputError, OutputError, UsageError
from mnist_batch.report.document import parse_report
from mnist_batch.run.result import Result
from mnist_batch.sources.idx import read_idx

FORMS = ["digits", "digits-images-idx3-ubyte", "digits.zip", "digits.tar.gz", "digits.parquet"]


@pytest.fixture(scope="module")
def scored(sample_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """A finished run. Tests must not change its output."""
    return predict(sample_data / "digits", output=tmp_path_factory.mktemp("scored") / "out", probabilities=True)


def part_bytes(result: Result) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(result.output.glob("*/part-*"))}


def test_all_formats_give_same_predictions(sample_data: Path, tmp_path: Path) -> None:
    results = [predict(sample_data / form, output=tmp_path / form).to_pandas() for form in FORMS]
    for frame in results:
        assert frame[["label", "prediction", "confidence"]].equals(results[0][["label", "prediction", "confidence"]])
        assert frame["id"].is_unique


def test_predictions_have_documented_columns(scored: Result) -> None:
    schema = pq.read_schema(scored.predictions / "part-00000.parquet")
    probabilities = [pa.field(f"p{digit}", pa.float32()) for digit in range(10)]
    assert list(schema.remove_metadata()) == [
        pa.field("id", pa.string()),
        pa.field("label", pa.int32()),
        pa.field("prediction", pa.int32()),
        pa.field("confidence", pa.float32()),
        pa.field("digit_score", pa.float32()),
        *probabilities,
    ]
    manifest = json.loads((scored.output / "manifest.json").read_text())
    assert schema.metadata[b"mnist_batch.fingerprint"].decode() == manifest["fingerprint"]
    assert schema.metadata[b"mnist_batch.model_sha256"].decode() == scored.report.model.sha256


def test_manifest_describes_the_model(scored: Result) -> None:
    model = json.loads((scored.output / "manifest.json").read_text())["model"]
    assert (model["name"], model["scale"], model["output"], model["carded"]) == ("seed", "0..1", "probabilities", True)


def test_prediction_has_largest_probability(scored: Result) -> None:
    frame = scored.to_pandas()
    probabilities = frame[[f"p{digit}" for digit in range(10)]].to_numpy()
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert (frame["prediction"] == probabilities.argmax(axis=1)).all()
    assert (frame["confidence"] == probabilities.max(axis=1)).all()


def test_bundled_model_reads_drawn_digits(scored: Result) -> None:
    assert scored.accuracy is not None
    assert scored.accuracy > 0.95


def test_report_agrees_with_predictions(scored: Result) -> None:
    frame, report = scored.to_pandas(), scored.report
    assert parse_report(json.loads((scored.output / "report.json").read_text())) == report
    confusion = np.zeros((10, 10), int)
    np.add.at(confusion, (frame["label"].to_numpy(int), frame["prediction"].to_numpy(int)), 1)
    assert report.confusion == confusion.tolist()
    assert report.accuracy == (frame["label"] == frame["prediction"]).mean()
    assert report.accuracy is not None
    assert report.accuracy_interval is not None
    assert report.accuracy_interval[0] < report.accuracy < report.accuracy_interval[1]
    assert report.prediction_counts == frame["prediction"].value_counts().reindex(range(10), fill_value=0).tolist()


def test_success_file_has_manifest_digest(scored: Result) -> None:
    digest = sha256((scored.output / "manifest.json").read_bytes()).hexdigest()
    assert (scored.output / "_SUCCESS").read_text() == digest + "\n"
    assert {path.name for path in scored.output.iterdir()} == {
        "predictions", "report.html", "report.json", "manifest.json", "_SUCCESS", ".lock",
    }  # fmt: skip


@pytest.mark.slow
def test_two_processes_write_the_same_bytes(sample_data: Path, tmp_path: Path) -> None:
    for name in ("first", "second"):
        command = [sys.executable, "-m", "mnist_batch", "predict", sample_data / "digits.zip", "-o", tmp_path / name]
        subprocess.run(
            [*map(str, command), "--rows-per-part", "70", "--batch-size", "32"], check=True, capture_output=True
        )
    first, second = ({p.name: p.read_bytes() for p in (tmp_path / n).glob("*/*")} for n in ("first", "second"))
    assert len(first) == 5
    assert first == second


def test_sizes_do_not_change_predictions(sample_data: Path, tmp_path: Path, scored: Result) -> None:
    result = predict(sample_data / "digits", output=tmp_path / "out", rows_per_part=77, batch_size=16)
    assert len(list(result.predictions.iterdir())) == 4
    columns = ["id", "label", "prediction", "confidence"]
    assert result.to_pandas()[columns].equals(scored.to_pandas()[columns])


def test_csv_has_the_values_of_parquet(sample_data: Path, tmp_path: Path, scored: Result) -> None:
    result = predict(sample_data / "digits", output=tmp_path / "out", format="csv", probabilities=True)
    assert result.to_pandas().equals(scored.to_pandas())
    with (result.predictions / "part-00000.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(scored.to_pandas().columns)
    assert [np.float32(row["confidence"]) for row in rows] == scored.to_pandas()["confidence"].tolist()


def test_keep_copies_columns(sample_data: Path, tmp_path: Path) -> None:
    table = pq.read_table(sample_data / "digits.parquet")
    table = table.append_column("page", pa.array([f"page {i}" for i in range(300)])).append_column(
        "n", pa.array(range(300))
    )
    pq.write_table(table, tmp_path / "scans.parquet")
    result = predict(tmp_path / "scans.parquet", output=tmp_path / "out", keep=["n", "page"])
    written_as_option = predict(tmp_path / "scans.parquet", output=tmp_path / "out", keep="n,page")
    assert written_as_option.already_done
    frame = result.to_pandas()
    assert list(frame.columns[-2:]) == ["n", "page"]
    assert frame["page"].tolist() == [f"page {i}" for i in range(300)]


def test_kept_columns_of_csv_are_text(sample_data: Path, tmp_path: Path) -> None:
    table = pq.read_table(sample_data / "digits.parquet").slice(0, 20)
    codes = [f"{row:03}" for row in range(10)] + ["none"] * 10
    pq.write_table(table.append_column("code", pa.array(codes)).append_column("n", pa.array(range(20))), tmp_path / "a")
    frame = predict(
        tmp_path / "a", output=tmp_path / "o", keep=["code", "n"], format="csv", rows_per_part=10
    ).to_pandas()
    assert frame["code"].tolist() == codes
    assert frame["n"].tolist() == [str(row) for row in range(20)]


def test_id_column_must_be_unique(sample_data: Path, tmp_path: Path, left_in: Callable[[Path], set[str]]) -> None:
    table = pq.read_table(sample_data / "digits.parquet").slice(0, 100)
    for name, scans in (("good", list(range(100))), ("repeated", [*range(99), 7])):
        pq.write_table(table.append_column("scan", pa.array(scans)), tmp_path / f"{name}.parquet")
    good = predict(tmp_path / "good.parquet", output=tmp_path / "out", id_column="scan", rows_per_part=30)
    assert good.to_pandas()["id"].tolist() == [str(i) for i in range(100)]
    with pytest.raises(InputError, match="'7' occurs in 2 rows"):
        predict(tmp_path / "repeated.parquet", output=tmp_path / "no", id_column="scan", rows_per_part=30)
    assert left_in(tmp_path / "no") == set()


@pytest.fixture
def scans(tmp_path: Path, sample_data: Path) -> Path:
    """A folder of 1,000 digits, three of them damaged, and a text file."""
    folder = tmp_path / "scans"
    folder.mkdir()
    images = read_idx(sample_data / "digits-images-idx3-ubyte")
    for index in range(1000):
        cv2.imwrite(str(folder / f"{index:04d}.png"), images[index % 300])
    png = (folder / "0500.png").read_bytes()
    (folder / "0100.png").write_bytes(png[: len(png) // 2])
    (folder / "0200.png").write_bytes(b"")
    (folder / "0300.png").write_bytes(b"not an image at all")
    (folder / "README.txt").write_text("scanned on a Tuesday")
    return folder


def test_damaged_images_are_rejects(scans: Path, tmp_path: Path, scored: Result) -> None:
    result = predict(scans, output=tmp_path / "out")
    frame = result.to_pandas()
    rejects = pq.read_table(result.rejects).to_pandas()
    assert (result.predicted, result.rejected) == (997, 3)
    assert dict(zip(rejects["id"], rejects["reason"], strict=True)) == {
        "0100.png": "undecodable",
        "0200.png": "empty",
        "0300.png": "not_an_image",
    }
    assert frame["id"].tolist() == [f"{i:04d}.png" for i in range(1000) if i not in (100, 200, 300)]
    expected = scored.to_pandas()["prediction"]  # sorted by path, which is the order of the idx file
    assert frame["prediction"].tolist() == [expected[int(name[:4]) % 300] for name in frame["id"]]
    assert result.report.skipped == {".txt": 1}
    assert result.report.rejects_by_reason == {"empty": 1, "not_an_image": 1, "undecodable": 1}


def test_preprocess_none_rejects_other_sizes(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "large.png"), np.full((56, 56), 255, np.uint8))
    result = predict(tmp_path / "large.png", output=tmp_path / "out", preprocess="none")
    assert result.predicted == 0
    assert pq.read_table(result.rejects).to_pylist() == [{"id": "large.png", "reason": "not_28x28", "detail": "56x56"}]
    assert result.to_pandas().empty


def test_label_file_overrides_stored_labels(sample_data: Path, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("id,label\n0/0_000.png,5\n9/9_029.png,\n")
    frame = predict(sample_data / "digits", output=tmp_path / "out", labels=tmp_path / "labels.csv").to_pandas()
    assert frame["label"].count() == 1
    assert frame["label"][0] == 5


def test_idx_labels_count_rejected_rows(scans: Path, tmp_path: Path) -> None:
    digits = np.arange(1000) % 10
    (tmp_path / "labels").write_bytes(b"\0\0\x08\x01" + (1000).to_bytes(4, "big") + digits.astype(np.uint8).tobytes())
    files = sorted(path for path in scans.rglob("*") if path.is_file())[:1000]
    pq.write_table(pa.table({"image": [path.read_bytes() for path in files]}), tmp_path / "scans.parquet")
    result = predict(tmp_path / "scans.parquet", output=tmp_path / "out", labels=tmp_path / "labels", batch_size=64)
    frame = result.to_pandas()
    assert result.rejected > 0
    assert frame["label"].tolist() == [int(name.rpartition("#")[2]) % 10 for name in frame["id"]]


def test_no_accuracy_without_labels(sample_data: Path, tmp_path: Path) -> None:
    result = predict(sample_data / "digits", output=tmp_path / "out", labels="none")
    assert (result.labelled, result.accuracy, result.report.confusion) == (0, None, None)


def test_label_ids_must_match_some_row(sample_data: Path, tmp_path: Path, left_in: Callable[[Path], set[str]]) -> None:
    (tmp_path / "labels.csv").write_text("id,label\nscan-1,5\n")
    with pytest.raises(InputError, match="none of its 1 ids is one"):
        predict(sample_data / "digits", output=tmp_path / "out", labels=tmp_path / "labels.csv")
    assert left_in(tmp_path / "out") == set()


def test_same_run_again_is_already_done(sample_data: Path, tmp_path: Path) -> None:
    first = predict(sample_data / "digits.zip", output=tmp_path / "out")
    before = part_bytes(first)
    again = predict(sample_data / "digits.zip", output=tmp_path / "out")
    assert again.already_done
    assert not first.already_done
    assert again.report == first.report
    assert part_bytes(again) == before


def test_other_run_needs_overwrite(sample_data: Path, tmp_path: Path) -> None:
    first = predict(sample_data / "digits.zip", output=tmp_path / "out")
    before = part_bytes(first)
    with pytest.raises(OutputError, match=r"options\.probabilities: False, now True"):
        predict(sample_data / "digits.zip", output=tmp_path / "out", probabilities=True)
    assert part_bytes(first) == before
    predict(sample_data / "digits.zip", output=tmp_path / "out", probabilities=True, overwrite=True)
    assert part_bytes(first) != before


def test_changed_input_is_another_run(scans: Path, tmp_path: Path) -> None:
    predict(scans, output=tmp_path / "out")
    (scans / "0100.png").unlink()
    with pytest.raises(OutputError, match=r"differs \(0100\.png is gone\)"):
        predict(scans, output=tmp_path / "out")


def test_failed_run_keeps_the_older_set(sample_data: Path, tmp_path: Path, left_in: Callable[[Path], set[str]]) -> None:
    digits = pq.read_table(sample_data / "digits.parquet").drop(["label"])
    broken = digits.append_column("label", pa.array([3] * 250 + [12] * 50))
    pq.write_table(broken, tmp_path / "broken.parquet")
    with pytest.raises(InputError, match="row 250 has 12"):
        predict(tmp_path / "broken.parquet", output=tmp_path / "new", rows_per_part=50)
    assert left_in(tmp_path / "new") == set()
    older = predict(sample_data / "digits.zip", output=tmp_path / "out")
    before = part_bytes(older)
    with pytest.raises(InputError, match="row 250 has 12"):
        predict(tmp_path / "broken.parquet", output=tmp_path / "out", rows_per_part=50, overwrite=True)
    assert part_bytes(older) == before
    assert not (tmp_path / "out" / "_work").exists()


def test_output_inside_input_is_an_error(scans: Path) -> None:
    for inputs in (scans, scans.parent / "sc*"):
        with pytest.raises(UsageError, match="must be outside the input, is in "):
            predict(inputs, output=scans / "out")
        assert not (scans / "out").exists()


def test_many_small_files_become_one_part(sample_data: Path, tmp_path: Path) -> None:
    images = read_idx(sample_data / "digits-images-idx3-ubyte")
    (tmp_path / "in").mkdir()
    for index in range(50):
        header = b"\0\0\x08\x03" + (2).to_bytes(4, "big") + (28).to_bytes(4, "big") * 2
        (tmp_path / "in" / f"{index:02d}.idx").write_bytes(header + images[index * 2 : index * 2 + 2].tobytes())
    result = predict(tmp_path / "in", output=tmp_path / "out")
    assert result.rows == 100
    assert len(list(result.predictions.iterdir())) == 1
