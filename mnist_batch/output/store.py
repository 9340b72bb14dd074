"""The output folder: its content, the parts staged in `_work/`, and the journalled commit that publishes them.

    _work/run.json              the fingerprint of the run and what it depends on
    _work/files.arrow           the listing of the input files
    _work/predictions/, rejects/
    _work/shards/00000.json.gz  written when a shard's parts are complete: rows, counts, size and SHA-256 of each file
    _work/commit.json           the journal: once it exists, the commit can only go forward

Knows nothing of images or models.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import IO

import pyarrow as pa

from mnist_batch.documents import DocumentError, JsonObject, check_keys, check_readable, parse_document, to_json
from mnist_batch.errors import OutputError
from mnist_batch.output.files import (
    TEMPORARY_SUFFIX,
    FileRecord,
    matches_record,
    move_folder,
    read_bytes,
    read_document,
    storage_errors,
    sync_folder,
    write_text,
    write_whole,
)
from mnist_batch.output.fingerprint import parse_listing
from mnist_batch.output.lock import LOCK_NAME
from mnist_batch.output.manifest import Manifest, Run, parse_manifest, parse_run
from mnist_batch.output.protocol import Sink
from mnist_batch.regular_files import open_regular
from mnist_batch.report.document import Report, parse_report

WORK = "_work"
PARTS = ("predictions", "rejects")
_LISTING = "files.arrow"
_PART_LISTING = "parts.arrow"
_LISTINGS = (_LISTING, _PART_LISTING)
PAGE = "report.html"
_DOCUMENTS = ("report.json", PAGE, "manifest.json")
_SUCCESS = "_SUCCESS"
# The names that a commit may create or replace in the output folder.
_PUBLISHED = (*PARTS, *_LISTINGS, *_DOCUMENTS, _SUCCESS)
# The paths that a run may leave in `_work` before its commit begins, with temporary names.
_STAGED = re.compile(
    r"(predictions|rejects|shards)(/\.?(part-)?\d+(\.\w+)+)?"
    r"|\.?((files|parts)\.arrow|(run|report|manifest)\.json|report\.html)(\.tmp)?|\.commit\.json\.tmp"
)
_JOURNAL = "commit.json"
# Where a commit puts the set that it replaces.
_OLD = re.compile(r"old(/\w+\.moved|/(predictions|rejects)(/part-\d+(\.\w+)+)?)?")
_PART_NAME = re.compile(r"part-\d+(\.\w+)+")
# A manifest lists up to this many parts, which takes about 120 KB.
_MAX_INLINE_PARTS = 1000
_PART_SCHEMA = pa.schema({"name": pa.string(), "size": pa.int64(), "sha256": pa.string()})
# The key with the inputs of the fingerprint; until 0.2.0 it was `facts`.
_FINGERPRINT_INPUTS = ("fingerprint_inputs", "facts")
# 2: `parts_listing` is new.
_JOURNAL_VERSION = 2


@dataclass(frozen=True, slots=True)
class Journal:
    """`commit.json`: how a commit that has begun must be finished.

    passed: whether the set gets `_SUCCESS`.
    rejects: whether it has `rejects/`.
    listing: whether it has `files.arrow`.
    parts_listing: whether it has `parts.arrow`.
    """

    passed: bool
    rejects: bool
    listing: bool
    parts_listing: bool = False
    journal_version: int = 1


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
        if locked and (foreign := self._find_foreign_staged()) is not None:
            raise OutputError(
                f"{foreign}: {WORK}/ must hold only what runs put there, but no run made this: move it elsewhere"
            )
        if not locked and LOCK_NAME in entries and all(_is_our_name(name) for name in names):
            return
        if names and not self._is_ours(names, staging_checked=locked):
            raise OutputError(
                f"{self.path}: must be empty, new, or the output of an earlier run, holds {', '.join(names[:3])}: "
                "choose another --output"
            )

    def _is_ours(self, names: Collection[str], staging_checked: bool) -> bool:
        """Whether the folder holds one of these. staging_checked: whether `_work` is known to hold nothing foreign.

        - the journal of a commit that has begun
        - a complete set
        - a staging folder, and no name that its commit would replace
        """
        # In this order, because another run may be finishing its commit.
        if self._read_journal() is not None:
            return True
        try:
            if self.manifest() is not None:
                return True
        except DocumentError:  # damaged, but written by this program; the run reports it when it reads the manifest
            return True
        if not self.staging.is_dir() or (not staging_checked and self._find_foreign_staged() is not None):
            return False
        if self.interrupted_run() is not None:
            return set(names).isdisjoint(_PUBLISHED)
        return names == [WORK] and not (self.staging / "run.json").exists()

    def _find_foreign_staged(self) -> Path | None:
        """The first path in `_work` that no run puts there, or None. Only without any may `_work` be deleted."""
        if self.staging.is_symlink() or (self.staging.exists() and not self.staging.is_dir()):
            return self.staging
        committing = self._read_journal() is not None
        for path in self.staging.rglob("*"):
            name = str(path.relative_to(self.staging))
            of_commit = committing and (name == _JOURNAL or _OLD.fullmatch(name))
            if not of_commit and (path.is_symlink() or not _STAGED.fullmatch(name)):
                return path
        return None

    def _check_replaceable(self) -> None:
        """Raises OutputError if the folders of the complete set hold a file that no run made."""
        for part in PARTS:
            folder = self.path / part
            if folder.is_symlink() or not folder.is_dir():
                continue
            foreign = next((path for path in folder.iterdir() if not _PART_NAME.fullmatch(path.name)), None)
            if foreign is not None:
                raise OutputError(
                    f"{foreign}: {part}/ must hold only parts if it is to be replaced, but no run made this: "
                    "move it elsewhere"
                )

    def _read_journal(self) -> Journal | None:
        """Returns the journal of a commit that has begun, or None. Raises OutputError if it is damaged."""
        path = self.staging / _JOURNAL
        content = _read_own(path, ["passed"], ["rejects"], ["listing"])
        if content is None:
            return None
        try:
            check_readable(content, "journal_version", _JOURNAL_VERSION)
            journal = parse_document(content, Journal)
            check_keys(content, journal)
        except DocumentError as error:
            raise _damaged(path, error) from error
        return journal

    def manifest(self) -> Manifest | None:
        """Returns the manifest of the complete set, or None if there is none by this program.

        Raises DocumentError if it is damaged.
        """
        content = _read_own(self.path / "manifest.json", ["fingerprint"], _FINGERPRINT_INPUTS, ["parts"])
        return None if content is None else parse_manifest(content)

    def report(self) -> Report:
        """Returns the report of the complete set. Raises DocumentError if there is none or it is damaged."""
        content = read_document(self.path / "report.json")
        if content is None:
            raise DocumentError("no file")
        return parse_report(content)

    def find_damage(self, manifest: Manifest) -> str | None:
        """Says what of the complete set is missing or changed; None if nothing is. Compares the sizes of parts."""
        parts = self._read_parts(manifest)
        if parts is None:
            return f"{_PART_LISTING} is missing or damaged"
        for name, size in parts.items():
            try:
                found = (self.path / name).stat().st_size
            except OSError as error:
                return f"{name}: {error.strerror}"
            if found != size:
                return f"{name} had {size:,} bytes, now {found:,}"
        return None

    def _read_parts(self, manifest: Manifest) -> dict[str, int] | None:
        """The size of each part of the complete set by name, or None if the listing cannot be read."""
        if manifest.parts is not None:
            return {name: part.size for name, part in manifest.parts.items()}
        table = _read_arrow(self.path / _PART_LISTING)
        if table is None or table.schema != _PART_SCHEMA:
            return None
        return dict(zip(table["name"].to_pylist(), table["size"].to_pylist(), strict=True))

    def interrupted_run(self) -> Run | None:
        """Returns `run.json` of an interrupted run, or None if there is none. Raises OutputError if it is damaged."""
        path = self.staging / "run.json"
        content = _read_own(path, ["fingerprint"], _FINGERPRINT_INPUTS)
        try:
            return None if content is None else parse_run(content)
        except DocumentError as error:
            raise _damaged(path, error) from error

    def interrupted_run_files(self) -> pa.Table | None:
        """Returns the input listing of the interrupted run, or None if it cannot be read."""
        return _read_arrow(self.staging / _LISTING)

    def read_set_files(self, manifest: Manifest) -> pa.Table | None:
        """Returns the input listing of the complete set, or None if it cannot be read."""
        return _read_arrow(self.path / _LISTING) if manifest.files is None else parse_listing(manifest.files)

    def start_run(self, run: Run, files: pa.Table) -> None:
        """Creates an empty staging folder for a run.

        Raises StorageError if that fails, OutputError if the set that the run will replace holds something foreign.

        files: the listing of the inputs.
        """
        self._check_replaceable()
        with storage_errors(self.staging):
            self._remove_staging()
        self.create_staging_folders()
        write_whole(self.staging / _LISTING, lambda file: _write_arrow(file, files))
        write_text(self.staging / "run.json", to_json(run))

    def create_staging_folders(self) -> None:
        """Creates the folders in the staging folder, or those that are gone or damaged. Raises StorageError."""
        with storage_errors(self.staging):
            for folder in (self.staging / part for part in (*PARTS, "shards")):
                if folder.is_file():
                    folder.unlink()
                folder.mkdir(parents=True, exist_ok=True)

    def discard(self) -> None:
        """Removes the staging folder as far as possible. The next start deals with what remains."""
        with suppress(OSError):
            self._remove_staging()

    def _remove_staging(self) -> None:
        """Removes the staging folder, `run.json` first, so that a half-removed folder does not look like a run.

        Files that no run made stay, and so do the folders that they are in.
        """
        (self.staging / "run.json").unlink(missing_ok=True)
        self._remove_staged(_STAGED)

    def _remove_staged(self, *patterns: re.Pattern[str]) -> None:
        """Removes what is in the staging folder and fits one of the patterns, and the folder itself if it is empty."""
        for folder, folders, files in os.walk(self.staging, topdown=False):
            links = [name for name in folders if Path(folder, name).is_symlink()]
            for path in (Path(folder, name) for name in (*files, *links)):
                if any(pattern.fullmatch(str(path.relative_to(self.staging))) for pattern in patterns):
                    path.unlink()
            _remove_if_empty(Path(folder))

    def read_shard_record(self, index: int) -> bytes | None:
        """Returns what `write_shard_record` wrote for a shard, or None if there is none."""
        return read_bytes(self.staging / "shards" / _record_name(index))

    def has_staged(self, files: Mapping[str, FileRecord]) -> bool:
        """Whether the staged files, by name, still hold the bytes of their records."""
        return all(matches_record(self.staging / name, record) for name, record in files.items())

    def stage_documents(self, report: Report, page: str, manifest: Manifest) -> None:
        """Prepares the set for `commit`: writes the documents and removes files that no shard record names.

        manifest: with all parts. If they are many, they are written to a file of their own.
        """
        parts = manifest.parts or {}
        with storage_errors(self.staging):
            for part in PARTS:
                for path in (self.staging / part).iterdir():
                    if f"{part}/{path.name}" not in parts:
                        path.unlink()
                sync_folder(self.staging / part)
            (self.staging / _PART_LISTING).unlink(missing_ok=True)
        if len(parts) > _MAX_INLINE_PARTS:
            columns = [list(parts), [part.size for part in parts.values()], [part.sha256 for part in parts.values()]]
            table = pa.table(columns, schema=_PART_SCHEMA)
            write_whole(self.staging / _PART_LISTING, lambda file: _write_arrow(file, table))
            manifest = replace(manifest, parts=None)
        for name, text in zip(_DOCUMENTS, (to_json(report), page, to_json(manifest)), strict=True):
            write_text(self.staging / name, text)

    def commit(self, passed: bool, listing: bool) -> None:
        """Publishes the staged set.

        passed: whether all gates passed, so that the set gets `_SUCCESS`.
        listing: whether the set gets `files.arrow`.
        """
        with storage_errors(self.staging):
            journal = Journal(
                passed=passed,
                rejects=any((self.staging / "rejects").iterdir()),
                listing=listing,
                parts_listing=(self.staging / _PART_LISTING).exists(),
                journal_version=_JOURNAL_VERSION,
            )
        write_text(self.staging / _JOURNAL, to_json(journal))
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
                self._swap(part, old, wanted=part == "predictions" or journal.rejects)
            has_listing = {_LISTING: journal.listing, _PART_LISTING: journal.parts_listing}
            for name in _LISTINGS:
                if not has_listing[name]:
                    (self.path / name).unlink(missing_ok=True)
            for name in (*filter(has_listing.get, _LISTINGS), *_DOCUMENTS):
                if (self.staging / name).exists():
                    (self.staging / name).rename(self.path / name)
            sync_folder(self.path)
            self.set_success(journal.passed)
            self._clear_staging()

    def _swap(self, part: str, old: Path, wanted: bool) -> None:
        """Moves the published folder to `old` and the staged one into its place.

        wanted: whether the new set has this folder. A set without rejects has no `rejects/`.
        """
        staged, final, moved = self.staging / part, self.path / part, old / f"{part}.moved"
        if wanted and not staged.exists():
            return  # an earlier start has moved it
        if not moved.exists():
            if final.is_symlink():
                final.rename(old / part)
            elif final.exists():
                move_folder(final, old / part)
            # If the staged files are moved one by one, `final` holds some of them from here on.
            moved.touch()
            sync_folder(old)
        if wanted:
            move_folder(staged, final)

    def set_success(self, passed: bool) -> None:
        """Writes `_SUCCESS` with the manifest's digest if the gates passed, and removes it otherwise."""
        path = self.path / _SUCCESS
        with storage_errors(path):
            content = (self.path / "manifest.json").read_bytes()
            digest = sha256(content).hexdigest() + "\n"
            if not passed:
                path.unlink(missing_ok=True)
                sync_folder(self.path)
            elif read_bytes(path) != digest.encode():
                write_text(path, digest)

    def replace_verdict(self, page: str, manifest: Manifest) -> None:
        """Replaces page and manifest of the complete set after its gates were judged again.

        Removes `_SUCCESS` first. Call `set_success` afterwards.
        """
        with storage_errors(self.path):
            (self.path / _SUCCESS).unlink(missing_ok=True)
            sync_folder(self.path)
        write_text(self.path / PAGE, page)
        write_text(self.path / "manifest.json", to_json(manifest))

    def _clear_staging(self) -> None:
        """Removes the staging folder, the journal last, so that an interruption makes the next start finish this.

        Files that no run made stay.
        """
        (self.staging / "run.json").unlink(missing_ok=True)
        self._remove_staged(_STAGED, _OLD)
        (self.staging / _JOURNAL).unlink()
        _remove_if_empty(self.staging)


def _remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise


def _is_our_name(name: str) -> bool:
    return name in (WORK, *_PUBLISHED) or name.endswith(TEMPORARY_SUFFIX)


def _read_own(path: Path, *keys: Sequence[str]) -> JsonObject | None:
    """Reads a document of this program. Returns None if there is none, or something else has that name.

    keys: those that every version of the document has, each with the names that it had in earlier versions.
    """
    try:
        content = read_document(path)
    except DocumentError:
        return None
    if content is None or not all(any(name in content for name in names) for names in keys):
        return None
    return content


def _damaged(path: Path, error: DocumentError) -> OutputError:
    return OutputError(f"{path}: must be as a run wrote it, found {error}: choose another --output")


def write_part(
    sink: Sink, table: pa.Table, staging: Path, part: str, index: int, metadata: Mapping[str, str], attempt: str
) -> tuple[str, FileRecord]:
    """Writes one part file. Returns its path relative to `staging`, and its record. attempt: as in `write_whole`."""
    name = f"{part}/part-{index:05d}{sink.suffix}"
    return name, write_whole(staging / name, lambda file: sink.write(table, file, metadata), attempt)


def write_shard_record(staging: Path, index: int, record: bytes, attempt: str) -> None:
    """Writes the record that marks a shard as done. Its parts must be complete by then."""
    write_whole(staging / "shards" / _record_name(index), lambda file: file.write(record), attempt)


def _record_name(index: int) -> str:
    return f"{index:05d}.json.gz"


def _read_arrow(path: Path) -> pa.Table | None:
    try:
        open_regular(path).close()  # pyarrow would wait for a pipe
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
