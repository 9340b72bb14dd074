"""Which names of folders are labels, and which may be something else."""

import pyarrow as pa
import pytest

from mnist_batch.sources.folder_labels import WORDS, digits_of_names, labels_from_folders

ALL = list(range(10))


def labels(*paths: str, above: str = "") -> tuple[list[int | None], str]:
    """The labels of these paths, and the warnings."""
    found = labels_from_folders(pa.array([path.encode() for path in paths], pa.binary()), "in", above)
    return found.digits.to_pylist(), "; ".join(found.warnings)


@pytest.mark.parametrize(
    "folder", ["2026/11/7", "2026/7", "1999/1/7", "scans/2026/01/7", "2026-11/7", "202611/7", "2026_1/7", "2026.12/7"]
)
def test_day_or_month_is_no_label(folder: str) -> None:
    digits, warnings = labels(f"{folder}/a.png", "b.png")
    assert digits == [None, None]
    assert warnings.startswith(f"in: 1 images are in folders that look like dates ({folder}/a.png): no label is taken")
    assert "--labels" in warnings


@pytest.mark.parametrize("folder", ["3026/11/7", "2026/13/7", "run2026/7", "2026/a/7", "12/7", "train/7"])
def test_other_numbers_above_leave_the_label(folder: str) -> None:
    assert labels(f"{folder}/a.png") == ([7], "")


@pytest.mark.parametrize("above", ["/data/2026/11", "/data/2026", "/2026-11"])
def test_date_may_begin_above_the_input(above: str) -> None:
    assert labels("7/a.png", above=above)[0] == [None]


@pytest.mark.parametrize("path", ["3/0/a.png", "x/3/fold/0/a.png", "3/x/y/0/a.png"])
def test_two_digit_folders_give_no_label(path: str) -> None:
    digits, warnings = labels(path, "4/b.png")
    assert digits == [None, 4]
    assert f"in: 1 images are below two folders named by a digit ({path})" in warnings


@pytest.mark.parametrize(
    "form", ["{:02d}", "digit_{}", "class{}", "Digit {}", "label={}", "train/d{}", "{}_", "WORD", "Word", "a/word"]
)
def test_ten_folders_named_alike_are_labels(form: str) -> None:
    def name(digit: int) -> str:
        word = WORDS[digit]
        return form.replace("WORD", word.upper()).replace("Word", word.title()).replace("word", word).format(digit)

    digits, warnings = labels(*(f"{name(digit)}/{digit}.png" for digit in ALL))
    assert (digits, warnings) == ((ALL, "") if form != "{}_" else ([None] * 10, ""))


@pytest.mark.parametrize(
    "paths",
    [
        [f"digit_{digit}/a.png" for digit in range(9)],  # one is missing
        [*(f"digit_{digit}/a.png" for digit in ALL), "other/b.png"],  # another folder beside them
        [*(f"digit_{digit}/a.png" for digit in range(9)), "class9/a.png"],  # not named alike
        [f"5/x/digit_{digit}/a.png" for digit in ALL],  # a number above
        [f"2026-11/d{digit}/a.png" for digit in ALL],  # a date above
    ],
)
def test_names_that_may_be_labels_are_a_warning(paths: list[str]) -> None:
    digits, warnings = labels(*paths)
    assert set(digits) == {None}
    assert "may name labels, but are not taken" in warnings


@pytest.mark.parametrize("paths", [["scan_1/a.png"], ["a/b.png", "c/d.png"], ["a.png"], []])
def test_other_names_are_no_labels_and_no_warning(paths: list[str]) -> None:
    assert labels(*paths) == ([None] * len(paths), "")


def test_one_partition_is_enough() -> None:
    assert labels("label=3/a.png", "label=3/b.png") == ([3, 3], "")


def test_names_of_classes() -> None:
    assert digits_of_names(["eight", "5", "Zero"]) == {0: 8, 1: 5, 2: 0}
    assert digits_of_names(["cat", "5"]) is None
