"""Who is warned of what was done to their images."""

from collections import Counter

import pytest

from mnist_batch.records import Preprocessing
from mnist_batch.report.preprocessing import preprocessing_warnings


def counts(as_is=0, inverted=0, framed=0):
    return Counter({Preprocessing.AS_IS: as_is, Preprocessing.INVERTED: inverted, Preprocessing.FRAMED: framed})


@pytest.mark.parametrize(
    "quiet", [counts(as_is=100), counts(as_is=100, inverted=1), counts(as_is=10_000, framed=90), counts()], ids=str
)
def test_images_in_mnist_form_are_not_spoken_of_nor_a_few_that_were_not(quiet):
    assert preprocessing_warnings({"a.zip": quiet}) == []


def test_a_source_that_had_to_be_framed_is_named_with_how_many():
    (line,) = preprocessing_warnings({"": counts(framed=900, inverted=100)})
    assert line == (
        "image files: 1,000 of 1,000 images were not in MNIST form and were brought to it, 100 of them with dark ink: "
        "look at them with `mnist-batch inspect --sheet`"
    )


def test_a_source_that_mixes_is_named_however_few_they_are_in_the_run():
    told = preprocessing_warnings({"a.zip": counts(as_is=1000), "b.zip": counts(as_is=95, inverted=5)})
    assert [line.split(":")[0] for line in told] == ["b.zip"]
    assert "all of them with dark ink" in told[0]


def test_of_many_sources_three_are_named_and_the_others_counted():
    told = preprocessing_warnings({f"{name}.zip": counts(framed=5) for name in "abcdefg"})
    assert [line.split(":")[0] for line in told] == ["a.zip", "b.zip", "c.zip", "4 more inputs of the same kind"]
