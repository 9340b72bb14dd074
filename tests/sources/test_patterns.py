"""Patterns of file names, and paths with `..`: which files they mean."""

from __future__ import annotations

import glob
import os
from pathlib import Path

import pytest
from contracts import DIGITS, ids_of, opened, write_files

from mnist_batch.errors import EmptyInputError
from mnist_batch.sources.listing import make_absolute
from mnist_batch.sources.patterns import expand_pattern

NAMES = ["a.png", "b.png", "x/a.png", "x/y/c.png", "x/y/.hidden.png", ".h/d.png", "[1].png"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_files(tmp_path / "in", {**dict.fromkeys(NAMES, DIGITS.pngs[0]), "e.txt": b"text"})
    monkeypatch.chdir(tmp_path)
    return tmp_path / "in"


@pytest.mark.parametrize(
    "pattern",
    [
        *("*.png", "**/*.png", "in/*.png", "in/**/*.png", "in/**/y/*", "in/?.png", "in/[ab].png", "in/[[]1].png"),
        *("in/.*/*.png", "in/*/*", "in/x/**/c.png", "*/x/*/*.png", "in/../in/*.png", "./in/*.png", "in/none/*", "no/*"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_pattern_means_what_it_means_to_glob(pattern: str) -> None:
    expected = sorted(map(Path, glob.glob(pattern, recursive=True)))  # noqa: PTH207
    matches = expand_pattern(pattern)
    # Of a folder that matches, only the folder itself is returned.
    assert [path for path in expected if not any(parent in matches for parent in path.parents)] == matches


def test_absolute_pattern(folder: Path) -> None:
    assert expand_pattern(f"{folder}/*.png") == [folder / name for name in ("[1].png", "a.png", "b.png")]


def test_folder_that_matches_is_taken_as_a_whole(folder: Path) -> None:
    assert expand_pattern("in/**") == [Path("in")]
    assert ids_of(opened(f"{folder}/**")) == ["[1].png", "a.png", "b.png", "x/a.png", "x/y/c.png"]


@pytest.mark.parametrize("links", [["loop"], ["loop", "other"], ["x/up", "x/y/up"]])
@pytest.mark.parametrize("pattern", ["**", "**/*.png", "*/**/*.png"])
def test_links_back_to_a_folder_above_are_not_followed(links: list[str], pattern: str, folder: Path) -> None:
    for link in links:
        (folder / link).symlink_to(folder)
    inputs = opened(f"{folder}/{pattern}")
    pictures = [name.rpartition("/")[2] for name in ids_of(inputs)]
    assert sorted(pictures) in (["[1].png", "a.png", "a.png", "b.png", "c.png"], ["a.png", "c.png"])
    assert len(set(map(os.path.realpath, (folder / name for name in ids_of(inputs))))) == len(pictures)


def test_file_in_a_linked_folder_is_read_once(folder: Path) -> None:
    (folder / "latest").symlink_to("x")
    inputs = opened(f"{folder}/*/a.png")
    assert inputs.rows == 1
    assert inputs.skipped == {"(link to a file that is read)": 1}


def test_nothing_that_matches_is_no_input(folder: Path) -> None:
    with pytest.raises(EmptyInputError, match="matches nothing"):
        opened(f"{folder}/*.jpg")


def test_parent_of_a_link_is_the_folder_above_its_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_files(tmp_path, {"near/1.png": DIGITS.pngs[1], "far/1.png": DIGITS.pngs[2], "far/x/2.png": DIGITS.pngs[3]})
    (tmp_path / "near/link").symlink_to(tmp_path / "far/x")
    monkeypatch.chdir(tmp_path)
    for path in ("near/link/../1.png", f"{tmp_path}/near/link/../1.png", "near/../near/link/./../1.png"):
        assert make_absolute(path) == tmp_path / "far/1.png"
    inputs = opened("near/link/../1.png")
    assert inputs.root == tmp_path / "far"
    assert opened("near/link/..").root == tmp_path / "far"
    assert ids_of(opened("near/link/../x/*.png")) == ["2.png"]


def test_parent_of_a_folder_is_the_folder_above(folder: Path) -> None:
    assert make_absolute("in/x/../a.png") == folder / "a.png"
    assert make_absolute("../../../../../../../../../etc") == Path("/etc")
    assert make_absolute("") == folder.parent
