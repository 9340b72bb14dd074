"""The output folder: what it holds, parts staged under `_work/`, and the journalled commit that publishes them.

    _work/run.json            which run this is: its fingerprint and facts
    _work/files.arrow         the input files as they were listed
    _work/predictions/, rejects/
    _work/shards/00000.json   written when a shard's parts are there: rows, counts, size and SHA-256 of each file
    _work/commit.json         the journal: from here on the run only goes forward

Knows nothing of images or models.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from mnist_batch.errors import OutputError
from mnist_batch.output.files import (
    TEMPORARY_SUFFIX,
    FileRecord,
    matches_record,
    read_json,
    storage_errors,
    sync_folder,
    to_json,
    write_text,
    write_whole,
)
from mnist_batch.output.lock import LOCK_NAME
from mnist_batch.output.manifest import parse_listing
from mnist_batch.output.protocol import Sink

WORK = "_work"
PARTS = ("predictions", "rejects")
_LISTING = "files.arrow"
PAGE = "report.html"
_DOCUMENTS = ("report.json", PAGE, "manifest.json")
_SUCCESS = "_SUCCESS"
# What a commit puts in its place.
_SET = (*PARTS, _LISTING, *_DOCUMENTS, _SUCCESS)
# What a run may leave in `_work` before its commit begins, temporary names included.
_STAGED = re.compile(
    r"(predictions|rejects|shards)(/\.?(part-)?\d+\.\w+(\.tmp)?)?"
    r"|\.?(files\.arrow|(run|report|manifest)\.json|report\.html)(\.tmp)?|\.commit\.json\.tmp"
)


class OutputStore:
    """One output folder. Whoever calls what writes holds its lock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.staging = path / WORK

    def check_ownership(self, locked: bool) -> None:
        """Raises OutputError where the folder holds something that no run of ours made.

        locked: whether the caller holds its lock. Without it another run may be at its commit: then names must do.
        """
        try:
            found = sorted(entry.name for entry in self.path.iterdir())
        except FileNotFoundError:
            return
        except OSError as error:
            raise OutputError(
                f"{self.path}: must be a folder to write to, but: {error.strerror}; choose another"
            ) from error
        names = [name for name in found if name != LOCK_NAME]
        if not locked and LOCK_NAME in found and all(_is_our_name(name) for name in names):
            return
        if names and not self._is_ours(names):
            raise OutputError(
                f"{self.path}: must be empty, new, or the output of an earlier run, holds {', '.join(names[:3])}: "
                "choose another --output"
            )

    def _is_ours(self, names: Collection[str]) -> bool:
        """Whether it holds a commit that was begun, a set, or a staging folder and nothing that its commit replaces."""
        # In this order: another run may be at the end of its commit.
        if self._read_journal() is not None or self.manifest() is not None:
            return True
        if not self._is_staging_ours():
            return False
        if self.interrupted_run() is not None:
            return set(names).isdisjoint(_SET)
        return names == [WORK] and not (self.staging / "run.json").exists()

    def _is_staging_ours(self) -> bool:
        """Whether `_work` holds nothing that a run would not put there, for it may be deleted."""
        return self.staging.is_dir() and all(
            _STAGED.fullmatch(str(path.relative_to(self.staging))) for path in self.staging.rglob("*")
        )

    def _read_journal(self) -> dict[str, Any] | None:
        """What is known of a commit that was begun; None where none was."""
        return _require_keys(read_json(self.staging / "commit.json"), "passed", "rejects", "listing")

    def manifest(self) -> dict[str, Any] | None:
        """The manifest of the complete set, or None where there is none of ours."""
        return _require_keys(read_json(self.path / "manifest.json"), "fingerprint", "facts", "parts")

    def report(self) -> dict[str, Any] | None:
        """The report of the complete set, or None where there is none."""
        return read_json(self.path / "report.json")

    def is_intact(self, manifest: Mapping[str, Any]) -> bool:
        """Whether every part of the complete set is there, by name and size."""
        try:
            parts = manifest["parts"].items()
            return all((self.path / name).stat().st_size == part["size"] for name, part in parts)
        except (OSError, KeyError, TypeError, AttributeError):
            return False

    def interrupted_run(self) -> dict[str, Any] | None:
        """`run.json` of an interrupted run, or None where there is none."""
        return _require_keys(read_json(self.staging / "run.json"), "fingerprint", "facts")

    def interrupted_run_files(self) -> pa.Table | None:
        """The input files as the interrupted run listed them; None where that was not written any more."""
        return _read_arrow(self.staging / _LISTING)

    def read_set_files(self, manifest: Mapping[str, Any]) -> pa.Table | None:
        """The input files of the complete set; None where they are not known any more."""
        inline = manifest.get("files")
        return _read_arrow(self.path / _LISTING) if inline is None else parse_listing(inline)

    def start_run(self, run: Mapping[str, Any], files: pa.Table) -> None:
        """Makes an empty staging folder for a run. Raises StorageError where that cannot be."""
        with storage_errors(self.staging):
            self._remove_staging()
            for part in (*PARTS, "shards"):
                (self.staging / part).mkdir(parents=True)
        write_whole(self.staging / _LISTING, lambda file: _write_arrow(file, files))
        write_text(self.staging / "run.json", to_json(run))

    def discard(self) -> None:
        """Removes what was staged, as far as that can be: what stays is found by the next start."""
        with suppress(OSError):
            self._remove_staging()

    def _remove_staging(self) -> None:
        """`run.json` first, so that nothing half removed passes for a run."""
        (self.staging / "run.json").unlink(missing_ok=True)
        if self.staging.exists():
            shutil.rmtree(self.staging)

    def read_shard_record(self, index: int) -> dict[str, Any] | None:
        """The record of a shard whose files still hold the bytes that were written; None where there is none."""
        record = read_json(self.staging / "shards" / f"{index:05d}.json")
        try:
            files = {} if record is None else record["files"]
            whole = all(matches_record(self.staging / name, FileRecord(**file)) for name, file in files.items())
        except (KeyError, TypeError, AttributeError):
            return None
        return record if whole else None

    def stage_documents(self, report: Mapping[str, Any], page: str, manifest: Mapping[str, Any]) -> None:
        """Readies the set for `commit`: files that no shard's record names are removed."""
        named: Collection[str] = manifest["parts"]
        with storage_errors(self.staging):
            for part in PARTS:
                for path in (self.staging / part).iterdir():
                    if f"{part}/{path.name}" not in named:
                        path.unlink()
                sync_folder(self.staging / part)
        for name, text in zip(_DOCUMENTS, (to_json(report), page, to_json(manifest)), strict=True):
            write_text(self.staging / name, text)

    def commit(self, passed: bool, listing: bool) -> None:
        """Makes the staged set the folder's own. passed: whether it gets its `_SUCCESS`; listing: its `files.arrow`."""
        with storage_errors(self.staging):
            rejects = any((self.staging / "rejects").iterdir())
        write_text(self.staging / "commit.json", to_json({"passed": passed, "rejects": rejects, "listing": listing}))
        self.roll_forward()

    def roll_forward(self) -> None:
        """Does what is left of a commit that was begun; nothing where none was. Any step may have been done before."""
        journal = self._read_journal()
        if journal is None:
            with suppress(OSError):  # empty: the commit was whole, only this was left
                self.staging.rmdir()
            return
        with storage_errors(self.path):
            (self.path / _SUCCESS).unlink(missing_ok=True)
            sync_folder(self.path)
            old = self.staging / "old"
            old.mkdir(exist_ok=True)
            for part in PARTS:
                self._swap(part, old, wanted=part == "predictions" or journal["rejects"])
            if not journal["listing"]:
                (self.path / _LISTING).unlink(missing_ok=True)
            for name in (_LISTING, *_DOCUMENTS) if journal["listing"] else _DOCUMENTS:
                if (self.staging / name).exists():
                    (self.staging / name).rename(self.path / name)
            sync_folder(self.path)
            self.set_success(journal["passed"])
            self._clear_staging()

    def _swap(self, part: str, old: Path, wanted: bool) -> None:
        """Puts a staged folder in the place of the old one; a new set without rejects has no such folder."""
        staged, final = self.staging / part, self.path / part
        if wanted and not staged.exists():
            return  # it was moved before
        if final.exists():
            final.rename(old / part)
        if wanted:
            staged.rename(final)

    def set_success(self, passed: bool) -> None:
        """`_SUCCESS`, with the manifest's digest, for a set whose gates passed; none for another."""
        path = self.path / _SUCCESS
        with storage_errors(path):
            content = (self.path / "manifest.json").read_bytes()
            digest = sha256(content).hexdigest() + "\n"
            if not passed:
                path.unlink(missing_ok=True)
                sync_folder(self.path)
            elif not path.exists() or path.read_bytes() != digest.encode():
                write_text(path, digest)

    def replace_verdict(self, page: str, manifest: Mapping[str, Any]) -> None:
        """Another verdict on the same set. `_SUCCESS` goes first and is up to `set_success`."""
        with storage_errors(self.path):
            (self.path / _SUCCESS).unlink(missing_ok=True)
            sync_folder(self.path)
        write_text(self.path / PAGE, page)
        write_text(self.path / "manifest.json", to_json(manifest))

    def _clear_staging(self) -> None:
        """Removes the staging folder, the journal last: until then a start would go through it again."""
        (self.staging / "run.json").unlink(missing_ok=True)
        for entry in self.staging.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)
            elif entry.name != "commit.json":
                entry.unlink()
        (self.staging / "commit.json").unlink()
        self.staging.rmdir()


def _is_our_name(name: str) -> bool:
    return name in (WORK, *_SET) or name.endswith(TEMPORARY_SUFFIX)


def _require_keys(document: dict[str, Any] | None, *keys: str) -> dict[str, Any] | None:
    """The document if it has these keys, as one of ours does."""
    return document if document is not None and document.keys() >= set(keys) else None


def write_part(
    sink: Sink, table: pa.Table, staging: Path, part: str, index: int, metadata: Mapping[str, str]
) -> tuple[str, FileRecord]:
    """One part file, whole; its path below `staging`, and what it must still be later."""
    name = f"{part}/part-{index:05d}{sink.suffix}"
    return name, write_whole(staging / name, lambda file: sink.write(table, file, metadata))


def write_shard_record(staging: Path, index: int, record: Mapping[str, Any]) -> None:
    """Says that a shard is done; only now is it."""
    write_text(staging / "shards" / f"{index:05d}.json", to_json(record))


def records_to_json(files: Mapping[str, FileRecord]) -> dict[str, Any]:
    """File records as a shard's record holds them."""
    return {name: asdict(file) for name, file in files.items()}


def _read_arrow(path: Path) -> pa.Table | None:
    try:
        with pa.OSFile(os.fsencode(path)) as file:
            return pa.ipc.open_file(file).read_all()
    except (OSError, pa.ArrowException):
        return None


def _write_arrow(file: IO[bytes], table: pa.Table) -> None:
    with pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)


def list_staged_parts(staging: Path, suffix: str) -> Iterator[Path]:
    """Every staged part file, in order."""
    yield from sorted(path for part in PARTS for path in (staging / part).glob(f"part-*{suffix}"))
