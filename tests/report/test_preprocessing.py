"""Which inputs get a warning about their preprocessing."""

from collections import Counter

import pytest

from mnist_batch.records import Preprocessing
from mnist_batch.report.preprocessing import preprocessing_warnings


def counts(as_is: int = 0, inverted: int = 0, framed: int = 0) -> Counter[str]:
    return Counter[str]({Preprocessing.AS_IS: as_is, Preprocessing.INVERTED: inverted, Preprocessing.FRAMED: framed})


@pytest.mark.parametrize(
    "quiet", [counts(as_is=100), counts(as_is=100, inverted=1), counts(as_is=10_000, framed=90), counts()], ids=str
)
def test_few_converted_images_do_not_warn(quiet: Counter[str]) -> None:
    assert preprocessing_warnings({"a.zip": quiet}) == []


def test_converted_source_is_named() -> None:
    (line,) = preprocessing_warnings({"": counts(framed=900, inverted=100)})
    assert line == (
        "image files: 1,000 of 1,000 images were not in MNIST form and were converted to it, 100 of them with dark ink"
        ": look at them with `mnist-batch inspect --sheet`"
    )


def test_mixed_source_is_named() -> None:
    warnings = preprocessing_warnings({"a.zip": counts(as_is=1000), "b.zip": counts(as_is=95, inverted=5)})
    assert [line.split(":")[0] for line in warnings] == ["b.zip"]
    assert "all of them with dark ink" in warnings[0]


def test_at_most_three_sources_are_named() -> None:
    warnings = preprocessing_warnings({f"{name}.zip": counts(framed=5) for name in "abcdefg"})
    assert [line.split(":")[0] for line in warnings] == ["a.zip", "b.zip", "c.zip", "4 more inputs of the same kind"]
