"""Which input is flagged as unlike the training data of the bundled model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from contracts import idx_bytes

from mnist_batch import predict
from mnist_batch.model.bundled import list_bundled
from mnist_batch.profile import Bins
from mnist_batch.records import Pixels
from mnist_batch.report.document import Report
from mnist_batch.report.drift import (
    FEATURES,
    _find_bin_starts,
    build_profile,
    check_profile,
    drift_warnings,
    measure_drift,
)
from mnist_batch.sources.idx import read_idx
from report.rows import tally
from report.runs import report as report_of


def clothes(generator: np.random.Generator) -> Pixels:
    """A shirt-like shape as in Fashion-MNIST: gray, filled, as large as the image."""
    image = np.zeros((28, 28), np.uint8)
    left, right = generator.integers(4, 9), generator.integers(19, 24)
    cv2.rectangle(image, (int(left), 3), (int(right), 25), int(generator.integers(90, 255)), -1)
    cv2.rectangle(image, (1, 4), (26, int(generator.integers(8, 13))), int(generator.integers(90, 255)), -1)
    noise = generator.integers(-25, 25, image.shape)
    return np.where(image > 0, np.clip(image + noise, 0, 255), 0).astype(np.uint8)


def noise(generator: np.random.Generator) -> Pixels:
    return generator.integers(0, 256, (28, 28), np.uint8)


def letter(generator: np.random.Generator) -> Pixels:
    image = np.zeros((56, 56), np.uint8)
    cv2.putText(image, chr(ord("A") + int(generator.integers(26))), (8, 46), cv2.FONT_HERSHEY_DUPLEX, 1.7, 255, 3)
    return cv2.resize(image, (28, 28), interpolation=cv2.INTER_AREA).astype(np.uint8)


def score(folder: Path, images: Pixels, preprocess: str = "auto") -> Report:
    """Scores images from an idx file with MNIST's own name. Returns the report."""
    folder.mkdir(exist_ok=True)
    (folder / "t10k-images-idx3-ubyte").write_bytes(idx_bytes(images))
    return predict(folder, output=folder.parent / "out", max_reject_rate=1, preprocess=preprocess).report


def flagged(report: Report) -> Sequence[str]:
    """The flagged features."""
    assert report.drift is not None
    return report.drift.flagged


@pytest.mark.parametrize(
    ("draw", "preprocess"),  # noise only without framing, which rejects it
    [(clothes, "auto"), (clothes, "none"), (noise, "none"), (letter, "auto"), (letter, "none")],
)
def test_images_without_digits_are_flagged(
    draw: Callable[[np.random.Generator], Pixels], preprocess: str, tmp_path: Path
) -> None:
    generator = np.random.default_rng(0)
    report = score(tmp_path / "in", np.stack([draw(generator) for _ in range(500)]), preprocess=preprocess)
    assert flagged(report)
    assert any("does not look like" in line for line in report.warnings)


@pytest.mark.real_data
def test_mnist_test_images_are_stable(real_data: Path, tmp_path: Path) -> None:
    report = score(tmp_path / "in", read_idx(real_data / "mnist" / "t10k-images-idx3-ubyte.gz"))
    assert report.drift is not None
    assert {feature.level for feature in report.drift.features} == {"stable"}


@pytest.mark.real_data
def test_small_sample_is_not_flagged(real_data: Path, tmp_path: Path) -> None:
    report = score(tmp_path / "in", read_idx(real_data / "mnist" / "t10k-images-idx3-ubyte.gz")[:50])
    assert flagged(report) == []


@pytest.mark.real_data
def test_inverted_images_are_flagged(real_data: Path, tmp_path: Path) -> None:
    images = 255 - read_idx(real_data / "mnist" / "t10k-images-idx3-ubyte.gz")[:1000]
    assert "ink" in flagged(score(tmp_path / "in", images, preprocess="none"))


@pytest.mark.real_data
def test_one_digit_alone_is_flagged(real_data: Path, tmp_path: Path) -> None:
    images = read_idx(real_data / "mnist" / "t10k-images-idx3-ubyte.gz")
    sevens = images[read_idx(real_data / "mnist" / "t10k-labels-idx1-ubyte.gz") == 7]
    assert "digits" in flagged(score(tmp_path / "in", sevens))


def test_run_is_stable_against_itself() -> None:
    rows = [(digit, digit, 0.5 + digit / 20) for digit in range(10)] * 30
    drift = measure_drift(tally(rows), build_profile(tally(rows), tally(rows)))
    assert drift is not None
    assert [feature.name for feature in drift.features] == list(FEATURES)
    assert {feature.level for feature in drift.features} == {"stable"}
    assert drift_warnings(drift) == []


def test_profile_has_about_ten_bins() -> None:
    rows = [(digit, digit, 0.5 + digit / 20) for digit in range(10)] * 30
    profile = build_profile(tally(rows), tally(rows))
    for name in FEATURES:
        bins: Bins = getattr(profile, name)
        assert 2 <= len(bins.edges) == len(bins.counts) <= 13
        assert sum(bins.counts) == 300
        assert bins.edges == sorted(set(bins.edges))
    assert profile.confidence is not None
    assert profile.confidence.counts[0] == profile.ink.counts[-1] == 0


@pytest.mark.parametrize(
    ("changed", "rows", "level"),
    [
        (0.10, 1000, "stable"),  # an index of 0.04
        (0.20, 1000, "moderate"),  # 0.17
        (0.30, 1000, "major"),  # 0.42
        (0.30, 20, "stable"),  # as likely by chance
    ],
)
def test_level_depends_on_the_index_and_the_rows(changed: float, rows: int, level: str) -> None:
    profile = build_profile(tally([(digit, digit, 0.9) for digit in (1, 2)] * 500), None)
    twos = round(rows * (0.5 + changed))
    drift = measure_drift(tally([(1, 1, 0.9)] * (rows - twos) + [(2, 2, 0.9)] * twos), profile)
    assert drift is not None
    digits = drift.features[0]
    assert (digits.name, digits.level) == ("digits", level)
    assert digits.expected[1:3] == [0.5, 0.5]
    assert digits.found[1:3] == [(rows - twos) / rows, twos / rows]
    assert (digits.psi > digits.psi_by_chance) == (level != "stable")
    assert drift.flagged == (["digits"] if level == "major" else [])
    assert (drift.thresholds.moderate, drift.thresholds.major, drift.profile_rows) == (0.1, 0.25, 1000)


@pytest.mark.parametrize(
    ("fine", "starts"),
    [
        ([10] * 10, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        ([0, 0, 50, 0, 50, 0], [0, 2, 3, 5]),  # a bin with many rows ends its coarse bin
        ([5] * 20, [0, 2, 4, 6, 8, 10, 12, 14, 16, 18]),
        ([0, 6, 6, 60, 60, 67, 1], [0, 1, 3, 4, 5]),  # the last fine bin is too small for a coarse bin
        ([100], [0]),
        ([2, 98], [0, 1]),
        ([0, 7, 0], [0, 1, 2]),
    ],
)
def test_bins_have_similar_shares(fine: list[int], starts: list[int]) -> None:
    assert _find_bin_starts(fine) == starts


@pytest.mark.parametrize(
    ("edges", "counts", "valid"),
    [
        ([0.0, 2.0, 4.0], [0, 5, 3], True),
        ([0.0, 2.0], [0, 5, 3], False),
        ([2.0, 4.0], [5, 3], False),  # does not begin at the first edge
        ([0.0, 4.0, 2.0], [0, 5, 3], False),
        ([0.0, 2.0, 2.0], [0, 5, 3], False),
        ([0.0, 3.0], [5, 3], False),  # not an edge of a fine bin
        ([0.0, 30.0], [5, 3], False),  # the end of the last fine bin
        ([0.0, 2.0, 4.0], [0, 0, 0], False),
    ],
)
def test_profile_is_checked(edges: list[float], counts: list[int], valid: bool) -> None:
    rows = tally([(1, 1, 0.9)])
    profile = replace(build_profile(rows, None), height=Bins(edges, counts))
    if valid:
        check_profile(profile)
        return
    with pytest.raises(ValueError, match=r"edges or counts in `profile\.height` that `train` does not write"):
        check_profile(profile)


def test_warning_names_the_flagged_features() -> None:
    rows = [(digit, digit, 0.9) for digit in range(10)] * 30
    drift = measure_drift(tally(rows), build_profile(tally(rows), None))
    assert drift is not None
    (line,) = drift_warnings(replace(drift, flagged=["ink", "digits"]))
    assert "(share of ink, mix of digits)" in line


def test_profile_says_what_its_confidences_are_of() -> None:
    rows = tally([(1, 1, 0.9)] * 20)
    assert build_profile(rows, rows).confidence_of == "training rows that were held out to choose the epoch"
    assert build_profile(rows, None).confidence_of is None


def test_confidence_needs_held_out_rows() -> None:
    drift = measure_drift(tally([(1, 1, 0.9)] * 20), build_profile(tally([(1, 1, 0.9)] * 20), None))
    assert drift is not None
    assert "confidence" not in [feature.name for feature in drift.features]


def test_no_profile_gives_no_drift() -> None:
    assert report_of(tally([(1, 1, 0.9)])).drift is None
    assert drift_warnings(None) == []


def test_bundled_card_has_a_profile() -> None:
    (profile,) = [model.card.profile for model in list_bundled() if model.name == "seed"]
    assert profile is not None
    assert profile.rows == 60_000 == sum(profile.digits.counts)
    assert profile.confidence is not None
    assert 6_000 <= sum(profile.confidence.counts) < 6_500
    assert "not trained on" in (profile.confidence_of or "")
