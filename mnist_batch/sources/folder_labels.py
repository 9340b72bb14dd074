"""Labels from the names of folders: which name is a label, and when it may be something else.

A folder named `0`..`9` labels the images in it. Ten sibling folders that are named for the ten digits in another way do
so too: `00`..`09`, `zero`..`nine`, `digit_3`, `class3`, `label=3`. A name that may be a day, a fold or a class index is
not taken, and a warning says so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

import pyarrow as pa
import pyarrow.compute as pc

from mnist_batch.names import to_text

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
# A digit below a year, or below a year and a month, is a month or a day.
_DATE = r"(^|/)(19|20)[0-9]{2}([-_./]?(0?[1-9]|1[0-2]))?/[0-9]/$"
_TWO_DIGITS = r"(^|/)[0-9]/([^/]*/)*[0-9]/$"
# Something and then the digit, with or without a leading zero.
_NUMBERED = re.compile(r"(?P<prefix>|.*[^0-9])0?(?P<digit>[0-9])")
# A partition of Hive by one of these names the label itself.
_PARTITION = re.compile(r"(label|digit|class|target)=")
_NUMBER = re.compile(r"[0-9]{1,2}|(19|20)[0-9]{2}([-_.]?[0-9]{2}){0,2}")
_REMEDY = "give their labels with --labels FILE, or switch labels off with --labels none"
# Folders that hold images are looked at one by one up to this number.
_MAX_FOLDERS = 10_000


@dataclass(frozen=True, slots=True)
class FolderLabels:
    """Labels by folder. digits: one per path, null without one; warnings: one line each."""

    digits: pa.Int8Array
    warnings: Sequence[str]


def labels_from_folders(paths: pa.Array, where: str, above: str = "") -> FolderLabels:
    """Returns the label of each `/`-separated path (binary or string), by the name of its parent folder.

    where: how warnings name the input.
    above: the folders above the paths, which may be the year and the month.
    """
    # Patterns are matched with folders, of which there are few, and not with paths.
    encoded = pc.replace_substring_regex(paths.cast(pa.binary()), r"[^/]*$", "").dictionary_encode()
    folders = encoded.dictionary
    parent = pc.extract_regex(folders, r"(?:^|/)(?P<digit>[0-9])/$")
    digits = pc.struct_field(parent, "digit").cast(pa.string()).cast(pa.int8())
    if digits.null_count == len(digits):
        digits, warnings = _labels_of_other_names(folders, where)
        return FolderLabels(digits.take(encoded.indices), warnings)
    tail = "/".join(above.split("/")[-2:]).encode()
    whole = pc.binary_join_element_wise(tail, folders, b"/") if tail else folders
    warnings = []
    for pattern, texts, why in (
        (_DATE, whole, "are in folders that look like dates"),
        (_TWO_DIGITS, folders, "are below two folders named by a digit"),
    ):
        doubtful = pc.match_substring_regex(texts, pattern)
        if pc.any(doubtful).as_py():
            images = paths.filter(doubtful.take(encoded.indices))
            example = to_text(_as_bytes(images[0].as_py()))
            warnings.append(
                f"{where}: {len(images):,} images {why} ({example}): no label is taken from them; {_REMEDY}"
            )
            digits = pc.if_else(doubtful, pa.scalar(None, pa.int8()), digits)
    return FolderLabels(digits.take(encoded.indices), warnings)


def _labels_of_other_names(folders: pa.BinaryArray, where: str) -> tuple[pa.Int8Array, list[str]]:
    """The digit of each folder, if ten of them are named for the digits in another way than `0`..`9`, and warnings.

    folders: distinct, each with a slash at its end.
    """
    nothing = pa.nulls(len(folders), pa.int8())
    if not 0 < len(folders) <= _MAX_FOLDERS:
        return nothing, []
    names = [to_text(folder.rstrip(b"/")) for folder in folders.to_pylist()]
    found = {name: digit for name in names if (digit := _read_name(name.rpartition("/")[2])) is not None}
    kinds = {kind for kind, _ in found.values()}
    if not found or (len(found) == 1 and not _PARTITION.match(next(iter(kinds)))):
        return nothing, []
    partitions = all(_PARTITION.match(kind) for kind in kinds)
    complete = partitions or {digit for _, digit in found.values()} == set(range(10))
    siblings = len(found) == len([name for name in names if name]) and len(kinds) == 1
    numbers_above = any(_NUMBER.fullmatch(part) for name in found for part in name.split("/")[:-1])
    if not (complete and siblings and not numbers_above):
        return nothing, [
            f"{where}: folders such as {next(iter(found))} may name labels, but are not taken: all ten digits must be "
            f"there, named alike, with no other folders beside them and no numbers above; {_REMEDY}"
        ]
    return pa.array([found[name][1] if name in found else None for name in names], pa.int8()), []


def _read_name(name: str) -> tuple[str, int] | None:
    """The way in which a folder's name states a digit, and the digit; None if it states none."""
    if name.lower() in WORDS:
        return "word", WORDS.index(name.lower())
    match = _NUMBERED.fullmatch(name)
    if match is None or (not match["prefix"] and len(name) == 1):
        return None
    return match["prefix"], int(match["digit"])


def label_of_partition(folder: PurePath) -> tuple[int | None, list[str]]:
    """The label of the files in a partition of Hive such as `label=3`, None if the folder is in none; and warnings."""
    partition = next((part for part in reversed(folder.parts) if _PARTITION.match(part)), None)
    if partition is None:
        return None, []
    value = partition.partition("=")[2]
    if len(value) == 1 and value in "0123456789":
        return int(value), []
    return None, [f"{folder}: the partition {partition} may name labels, but is not taken; {_REMEDY}"]


def digits_of_names(names: Sequence[str]) -> Mapping[int, int] | None:
    """The digit of each class by its index, from the names of the classes: digits or words for them.

    None if a name is neither.
    """
    digits = {}
    for index, name in enumerate(names):
        text = name.strip().lower()
        if text in WORDS:
            digits[index] = WORDS.index(text)
        elif len(text) == 1 and text in "0123456789":
            digits[index] = int(text)
        else:
            return None
    return digits


def _as_bytes(path: bytes | str) -> bytes:
    return path if isinstance(path, bytes) else path.encode()
