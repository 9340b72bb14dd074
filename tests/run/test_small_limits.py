"""Cutting a run into small pieces changes nothing: reads, inflated chunks, batches and parts of a few rows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from contracts import DIGITS, FORMS, Array, Digits, Written
from reliability.test_failing_model import predictor_of

from mnist_batch.config import PredictConfig, Preprocess, PreprocessOptions
from mnist_batch.images import mnist_form, preprocess
from mnist_batch.run import job
from mnist_batch.run.job import run_job
from mnist_batch.sources import csv, gzipped, idx, members, npz, parquet
from mnist_batch.sources.zip import reader as zip_reader

# Without labels, so that some rows have none: CSV and npz take the labels as they are.
FORM_NAMES = [
    *("idx", "idx.gz", "npz", "npy", "csv", "csv.gz", "folder", "zip stored", "zip deflated", "tar", "tar.gz"),
    *("idx.gz in zip", "csv in tar", "npz in tar.gz", "parquet: binary of PNG", "parquet: list of uint8"),
    *("parquet: 784 columns from pixel1", "parquet: Spark's images"),
]
# Forms whose images are also scored unchanged in the quick tests.
QUICK_UNCHANGED = ("idx", "folder", "zip deflated", "tar.gz", "parquet: binary of PNG")
# Forms in which each image is a file of its own, which may be damaged.
ENCODED = ("folder", "zip", "tar", "parquet: binary of PNG")
LIMITS: list[tuple[object, str, int]] = [
    (idx, "_MAX_READ_BYTES", 3 * 784),
    (idx, "_INFLATE_CHUNK", 1000),
    (gzipped, "_CHUNK_BYTES", 1000),
    (npz, "_CHECKSUM_CHUNK", 1000),
    (csv, "_BLOCK_BYTES", 20_000),
    (parquet, "_DECODE_ROWS", 5),
    (members, "_MAX_RUN_BYTES", 700),
    (zip_reader, "_MAX_RUN_INFLATED_BYTES", 900),
    (preprocess, "_CHUNK_BYTES", 2000),
    (mnist_form, "_CHUNK_ROWS", 3),
]
# The first pixel of an image on which the model fails, or for which it gives NaN in some or all of its outputs.
FAILS, ALL_NAN, ONE_NAN = 77, 78, 79
WEIGHTS = np.random.default_rng(5).normal(0, 0.02, (784, 10)).astype(np.float32)


def network(images: tf.Tensor) -> dict[str, tf.Tensor]:
    first = images[:, 0, 0]
    succeeds = tf.debugging.assert_equal(tf.reduce_any(first == FAILS), False)
    with tf.control_dependencies([succeeds]):
        probabilities = tf.nn.softmax(tf.reshape(images, (-1, 784)) @ WEIGHTS)
    is_nan = (first == ALL_NAN)[:, None] | ((first == ONE_NAN)[:, None] & (tf.range(10) == 3))
    return {"probabilities": tf.where(is_nan, np.float32("nan"), probabilities)}


@dataclass(frozen=True)
class DamagedDigits(Digits):
    """Digits of which some PNGs are damaged or empty."""

    damaged: Mapping[int, bytes]

    @property
    def pngs(self) -> list[bytes]:
        return [self.damaged.get(row, png) for row, png in enumerate(super().pngs)]


def draw_digits(auto: bool) -> DamagedDigits:
    """Digits with rows of every kind: some alone, some one after the other, at the ends and in the middle.

    auto: whether they are preprocessed.
    """
    pixels: Array = DIGITS.pixels.copy()
    if auto:
        pixels[[0, 20, *range(33, 45)]] = 0  # blank
        pixels[[21, 46]] = 255 - pixels[[21, 46]]
        pixels[22:25] = np.roll(pixels[22:25], 4, axis=2)
    else:
        pixels[[1, 16, 17, 18, 59], 0, 0] = FAILS
        pixels[[2, 19, 40], 0, 0] = ALL_NAN
        pixels[[3, 20, 41, 58], 0, 0] = ONE_NAN
    png = DIGITS.pngs[4]
    damaged = {4: b"", 5: png[:-20], 6: b"no image", 34: png[:40], **dict.fromkeys(range(47, 57), b"\x89PNG")}
    return DamagedDigits(pixels, DIGITS.labels, damaged)


@dataclass(frozen=True)
class Outcome:
    """What a run wrote."""

    predictions: list[dict[str, Any]]
    rejects: list[dict[str, Any]]
    report: Mapping[str, Any]
    batch_splits: int


def score(written: Written, output: Path, auto: bool, batch_size: int, rows_per_part: int) -> Outcome:
    options = PreprocessOptions(Preprocess.AUTO if auto else Preprocess.NONE)
    reading = replace(written.options, preprocess_options=options)
    config = PredictConfig(
        (written.input,), output, reading, probabilities=True, batch_size=batch_size, rows_per_part=rows_per_part
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job, "load_predictor", lambda _: predictor_of(network, batch_size))
        run_job(config)
    report = json.loads((output / "report.json").read_text())
    manifest = json.loads((output / "manifest.json").read_text())
    rejects = output / "rejects"
    return Outcome(
        pq.read_table(output / "predictions").to_pylist(),
        pq.read_table(rejects).to_pylist() if rejects.exists() else [],
        {name: value for name, value in report.items() if name not in ("timings", "run")},
        manifest["batch_splits"],
    )


@pytest.mark.parametrize(
    ("form", "auto"),
    [(form, True) for form in FORM_NAMES]
    + [pytest.param(form, False, marks=() if form in QUICK_UNCHANGED else pytest.mark.slow) for form in FORM_NAMES],
)
def test_small_pieces_change_nothing(form: str, auto: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in").mkdir()
    written = FORMS[form](tmp_path / "in", draw_digits(auto))
    whole = score(written, tmp_path / "whole", auto, 4096, 65_536)
    for module, name, limit in LIMITS:
        monkeypatch.setattr(module, name, limit)
    cut = score(written, tmp_path / "cut", auto, 16, 7)
    assert cut.predictions == whole.predictions
    assert cut.rejects == whole.rejects
    assert cut.report == whole.report
    assert (cut.batch_splits > 0) == (whole.batch_splits > 0) == (not auto)
    check_rows(whole, written, auto, damaged=form.startswith(ENCODED))


def check_rows(outcome: Outcome, written: Written, auto: bool, damaged: bool) -> None:
    """The uncut run has what `draw_digits` put into it."""
    rejected = {row["id"]: row["reason"] for row in outcome.rejects}
    rows = {
        "auto": dict.fromkeys([0, 20, *range(33, 45)], "blank"),
        "none": dict.fromkeys([1, 16, 17, 18, 59, 2, 19, 40, 3, 20, 41, 58], "unscorable"),
    }["auto" if auto else "none"]
    if damaged:
        rows |= {4: "empty", 5: "undecodable", 6: "not_an_image", 34: "undecodable"}
        rows |= dict.fromkeys(range(47, 57), "not_an_image")
    expected = {written.ids[row]: reason for row, reason in sorted(rows.items())}
    assert rejected.keys() == expected.keys()
    assert list(rejected) == list(expected)
    assert {name: reason for name, reason in rejected.items() if reason != expected[name]} == {}
    assert [row["id"] for row in outcome.predictions] == [name for name in written.ids if name not in rejected]


def test_every_limit_exists() -> None:
    for module, name, limit in LIMITS:
        assert getattr(module, name) > limit
