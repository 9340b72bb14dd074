"""The output folder: its content, the parts staged in `_work/`, and the journalled commit that publishes them.

    _work/run.json            the fingerprint of the run and what it depends on
    _work/files.arrow         the listing of the input files
    _work/predictions/, rejects/
    _work/shards/00000.json   written when a shard's parts are complete: rows, counts, size and SHA-256 of each file
    _work/commit.json         the journal: once it exists, the commit can only go forward

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
# The names that a commit may create or replace in the output folder.
_PUBLISHED = (*PARTS, _LISTING, *_DOCUMENTS, _SUCCESS)
# The paths that a run may leave in `_work` before its commit begins, with temporary names.
_STAGED = re.compile(
    r"(predictions|rejects|shards)(/\.?(part-)?\d+\.\w+(\.[0-9a-f]{8})?(\.tmp)?)?"
    r"|\.?(files\.arrow|(run|report|manifest)\.json|report\.html)(\.tmp)?|\.commit\.json\.tmp"
)


class OutputStore:
    """One output folder. Methods that write require its lock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.staging = path / WORK

    def check_ownership(self, locked: bool) -> None:
        """Raises OutputError if the folder holds something that no run of this program made.

        locked: whether the caller holds the folder's lock. Without it, another run may be committing, so only the
        names are checked.
        """
        try:
            entries = sorted(entry.name for entry in self.path.iterdir())
        except FileNotFoundError:
            return
        except OSError as error:
            raise OutputError(
                f"{self.path}: must be a writable folder, but: {error.strerror}; choose another --output"
            ) from error
        names = [name for name in entries if name != LOCK_NAME]
        if not locked and LOCK_NAME in entries and all(_is_our_name(name) for name in names):
            return
        if names and not self._is_ours(names):
            raise OutputError(
                f"{self.path}: must be empty, new, or the output of an earlier run, holds {', '.join(names[:3])}: "
                "choose another --output"
            )

    def _is_ours(self, names: Collection[str]) -> bool:
        """Whether the folder holds one of these.

        - the journal of a commit that has begun
        - a complete set
        - a staging folder, and no name that its commit would replace
        """
        # In this order, because another run may be finishing its commit.
        if self._read_journal() is not None or self.manifest() is not None:
            return True
        if not self._is_staging_ours():
            return False
        if self.interrupted_run() is not None:
            return set(names).isdisjoint(_PUBLISHED)
        return names == [WORK] and not (self.staging / "run.json").exists()

    def _is_staging_ours(self) -> bool:
        """Whether `_work` holds only what a run puts there. If so, it may be deleted."""
        return self.staging.is_dir() and all(
            _STAGED.fullmatch(str(path.relative_to(self.staging))) for path in self.staging.rglob("*")
        )

    def _read_journal(self) -> dict[str, Any] | None:
        """Returns the journal of a commit that has begun, or None."""
        return _read_document(self.staging / "commit.json", "passed", "rejects", "listing")

    def manifest(self) -> dict[str, Any] | None:
        """Returns the manifest of the complete set, or None if there is none by this program."""
        return _read_document(self.path / "manifest.json", "fingerprint", "facts", "parts")

    def report(self) -> dict[str, Any] | None:
        """Returns the report of the complete set, or None if there is none."""
        return read_json(self.path / "report.json")

    def is_intact(self, manifest: Mapping[str, Any]) -> bool:
        """Whether every part of the complete set exists and has the size in the manifest."""
        try:
            parts = manifest["parts"].items()
            return all((self.path / name).stat().st_size == part["size"] for name, part in parts)
        except (OSError, KeyError, TypeError, AttributeError):
            return False

    def interrupted_run(self) -> dict[str, Any] | None:
        """Returns `run.json` of an interrupted run, or None if there is none."""
        return _read_document(self.staging / "run.json", "fingerprint", "facts")

    def interrupted_run_files(self) -> pa.Table | None:
        """Returns the input listing of the interrupted run, or None if it cannot be read."""
        return _read_arrow(self.staging / _LISTING)

    def read_set_files(self, manifest: Mapping[str, Any]) -> pa.Table | None:
        """Returns the input listing of the complete set, or None if it cannot be read."""
        inline = manifest.get("files")
        return _read_arrow(self.path / _LISTING) if inline is None else parse_listing(inline)

    def start_run(self, run: Mapping[str, Any], files: pa.Table) -> None:
        """Creates an empty staging folder for a run. Raises StorageError if that fails.

        run: the content of `run.json`.
        files: the listing of the inputs.
        """
        with storage_errors(self.staging):
            self._remove_staging()
            for part in (*PARTS, "shards"):
                (self.staging / part).mkdir(parents=True)
        write_whole(self.staging / _LISTING, lambda file: _write_arrow(file, files))
        write_text(self.staging / "run.json", to_json(run))

    def discard(self) -> None:
        """Removes the staging folder as far as possible. The next start deals with what remains."""
        with suppress(OSError):
            self._remove_staging()

    def _remove_staging(self) -> None:
        """Removes the staging folder, `run.json` first, so that a half-removed folder does not look like a run."""
        (self.staging / "run.json").unlink(missing_ok=True)
        if self.staging.exists():
            shutil.rmtree(self.staging)

    def read_shard_record(self, index: int) -> dict[str, Any] | None:
        """Returns the record of a shard, or None if there is none or one of its files has changed."""
        record = read_json(self.staging / "shards" / f"{index:05d}.json")
        try:
            files = {} if record is None else record["files"]
            intact = all(matches_record(self.staging / name, FileRecord(**file)) for name, file in files.items())
        except (KeyError, TypeError, AttributeError):
            return None
        return record if intact else None

    def stage_documents(self, report: Mapping[str, Any], page: str, manifest: Mapping[str, Any]) -> None:
        """Prepares the set for `commit`: writes the documents and removes files that no shard record names."""
        recorded: Collection[str] = manifest["parts"]
        with storage_errors(self.staging):
            for part in PARTS:
                for path in (self.staging / part).iterdir():
                    if f"{part}/{path.name}" not in recorded:
                        path.unlink()
                sync_folder(self.staging / part)
        for name, text in zip(_DOCUMENTS, (to_json(report), page, to_json(manifest)), strict=True):
            write_text(self.staging / name, text)

    def commit(self, passed: bool, listing: bool) -> None:
        """Publishes the staged set.

        passed: whether all gates passed, so that the set gets `_SUCCESS`.
        listing: whether the set gets `files.arrow`.
        """
        with storage_errors(self.staging):
            rejects = any((self.staging / "rejects").iterdir())
        write_text(self.staging / "commit.json", to_json({"passed": passed, "rejects": rejects, "listing": listing}))
        self.roll_forward()

    def roll_forward(self) -> None:
        """Finishes a commit that has begun, if there is one. Each step may already have been done."""
        journal = self._read_journal()
        if journal is None:
            with suppress(OSError):  # an empty folder is the last thing that a finished commit may leave
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
        """Moves the published folder to `old` and the staged one into its place.

        wanted: whether the new set has this folder. A set without rejects has no `rejects/`.
        """
        staged, final = self.staging / part, self.path / part
        if wanted and not staged.exists():
            return  # an earlier start has moved it
        if final.exists():
            final.rename(old / part)
        if wanted:
            staged.rename(final)

    def set_success(self, passed: bool) -> None:
        """Writes `_SUCCESS` with the manifest's digest if the gates passed, and removes it otherwise."""
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
        """Replaces page and manifest of the complete set after its gates were judged again.

        Removes `_SUCCESS` first. Call `set_success` afterwards.
        """
        with storage_errors(self.path):
            (self.path / _SUCCESS).unlink(missing_ok=True)
            sync_folder(self.path)
        write_text(self.path / PAGE, page)
        write_text(self.path / "manifest.json", to_json(manifest))

    def _clear_staging(self) -> None:
        """Removes the staging folder, the journal last, so that an interruption makes the next start finish this."""
        (self.staging / "run.json").unlink(missing_ok=True)
        for entry in self.staging.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)
            elif entry.name != "commit.json":
                entry.unlink()
        (self.staging / "commit.json").unlink()
        self.staging.rmdir()


def _is_our_name(name: str) -> bool:
    return name in (WORK, *_PUBLISHED) or name.endswith(TEMPORARY_SUFFIX)


def _read_document(path: Path, *keys: str) -> dict[str, Any] | None:
    """The JSON object in a file, or None if there is none or it lacks one of the keys that this program writes."""
    document = read_json(path)
    return document if document is not None and document.keys() >= set(keys) else None


def write_part(
    sink: Sink, table: pa.Table, staging: Path, part: str, index: int, metadata: Mapping[str, str], attempt: str
) -> tuple[str, FileRecord]:
    """Writes one part file. Returns its path relative to `staging`, and its record. attempt: as in `write_whole`."""
    name = f"{part}/part-{index:05d}{sink.suffix}"
    return name, write_whole(staging / name, lambda file: sink.write(table, file, metadata), attempt)


def write_shard_record(staging: Path, index: int, record: Mapping[str, Any], attempt: str) -> None:
    """Writes the record that marks a shard as done. Its parts must be complete by then."""
    write_text(staging / "shards" / f"{index:05d}.json", to_json(record), attempt)


def records_to_json(files: Mapping[str, FileRecord]) -> dict[str, Any]:
    """Returns file records in the form of a shard record."""
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
    """Yields every staged part file in order."""
    yield from sorted(path for part in PARTS for path in (staging / part).glob(f"part-*{suffix}"))
