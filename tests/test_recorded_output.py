"""The output of this version, compared with the output recorded for it.

A change that alters an output byte must bump the version in pyproject.toml, because the version is part of every
fingerprint. After a bump, `make goldens` records the output again; it never overwrites the record of the same version.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from contracts import DIGITS, png_of, read_all, write_zip
from images.transforms import TRANSFORMS, beside

from mnist_batch import predict
from mnist_batch.config import Preprocess, PreprocessOptions, ReadOptions
from mnist_batch.sources.discover import open_inputs

GOLDENS = Path(__file__).parent / "goldens"
RECORD = GOLDENS / "recorded_output.json"
SCANS = GOLDENS / "scans.zip"
SAMPLES = Path(__file__).parents[1] / "sample_data"
VERSION = version("mnist-batch")
RECORDING = "MNIST_BATCH_GOLDENS" in os.environ
CASES = {
    "folder": (SAMPLES / "digits", "auto"),
    "zip": (SAMPLES / "digits.zip", "auto"),
    "tar.gz": (SAMPLES / "digits.tar.gz", "auto"),
    "idx": (SAMPLES / "digits-images-idx3-ubyte", "auto"),
    "parquet": (SAMPLES / "digits.parquet", "auto"),
    "all framed": (SAMPLES / "digits.zip", "frame"),
    "scans": (SCANS, "auto"),
    "scans, not framed": (SCANS, "none"),
}
# As transforms of 2000x2000 would be several megabytes.
SKIPPED_TRANSFORMS = {"2000x2000"}
SCANS_PER_TRANSFORM = 2


def write_scans(path: Path) -> None:
    """Transformed digits and damaged files. They are stored, because OpenCV draws them differently on other CPUs."""
    generator = np.random.default_rng(0)
    transforms = {**TRANSFORMS, "beside another": beside(DIGITS.pixels[1])}
    files: dict[str, bytes] = {}
    for name in sorted(transforms.keys() - SKIPPED_TRANSFORMS):
        for row in range(SCANS_PER_TRANSFORM):
            position = len(files) % len(DIGITS.pixels)
            image = transforms[name](DIGITS.pixels[position], generator)
            content = image if isinstance(image, bytes) else png_of(image)
            files[f"{name.replace(' ', '-')}/{DIGITS.labels[position]}/{row}.png"] = content
    png = DIGITS.pngs[0]
    files |= {
        "damaged/empty.png": b"",
        "damaged/cut.png": png[:-20],
        "damaged/text.png": b"no image",
        "damaged/blank.png": png_of(np.full((60, 60), 200, np.uint8)),
        "damaged/small.png": png_of(np.zeros((5, 5), np.uint8)),
    }
    write_zip(path, files)


def digest(parts: Iterable[bytes]) -> str:
    return sha256(b"\n".join(parts)).hexdigest()


def read_table(folder: Path) -> pa.Table:
    return pa.concat_tables([pq.read_table(path) for path in sorted(folder.glob("*.parquet"))])


def measure(path: Path, preprocess: str, output: Path) -> dict[str, Any]:
    """Digests of ids, pixels, rejects and predicted digits, and the confidences themselves."""
    options = PreprocessOptions(Preprocess(preprocess))
    batches = read_all(open_inputs((str(path),), ReadOptions(preprocess_options=options)), options)
    result = predict(path, output=output, preprocess=preprocess, max_reject_rate=1)
    predictions = read_table(result.predictions)
    rejects = read_table(result.rejects).to_pylist() if result.rejects else []
    return {
        "rows": result.rows,
        "rejected": result.rejected,
        "ids": digest(id.encode() for id in predictions["id"].to_pylist()),
        "pixels": digest(batch.pixels.tobytes() for batch in batches),
        "rejects": digest("\t".join(reject.values()).encode() for reject in rejects),
        "digits": digest([predictions["prediction"].to_numpy().tobytes()]),
        "confidence": [round(value, 7) for value in predictions["confidence"].to_pylist()],
    }


def record(name: str, output: dict[str, Any]) -> None:
    """Records the output of a case, unless it is recorded for this version already."""
    recorded = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    if recorded.get("version") != VERSION:
        recorded = {"version": VERSION, "cases": {}}
    if name not in recorded["cases"]:
        recorded["cases"][name] = output
        RECORD.write_text(json.dumps(recorded, indent=1) + "\n")


@pytest.mark.parametrize("name", CASES)
def test_output_is_as_recorded(name: str, tmp_path: Path) -> None:
    path, preprocess = CASES[name]
    if RECORDING and not SCANS.exists():
        write_scans(SCANS)
    output = measure(path, preprocess, tmp_path / "out")
    if RECORDING:
        record(name, output)
    recorded = json.loads(RECORD.read_text())
    assert recorded["version"] == VERSION, "the version has changed: record its output with `make goldens`"
    expected = recorded["cases"][name]
    confidence, expected_confidence = output.pop("confidence"), expected.pop("confidence")
    assert output == expected, "the output has changed: bump the version in pyproject.toml, then `make goldens`"
    assert np.allclose(confidence, expected_confidence, rtol=0, atol=1e-5)
