"""Lists the files in a tar, plain or gzip, by reading it from start to end.

A large tar is listed in a subprocess. In this process, that takes four times as long while TensorFlow is imported,
because the import keeps the interpreter busy for two seconds.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import pyarrow as pa

from mnist_batch.errors import InputError
from mnist_batch.runtime import has_spare_core, keep_freed_memory, module_command, read_output
from mnist_batch.sources.gzipped import is_gzip, open_plain_or_gzip
from mnist_batch.sources.tar.headers import EMPTY_BLOCK, TarListing, list_any, list_plain

# Listing a tar of this size takes 0.3 seconds, as long as the subprocess takes to start.
_LARGE_BYTES, _LARGE_GZIP_BYTES = 1 << 28, 1 << 26
_SKIP_CHUNK_BYTES = 1 << 20
# GNU tar pads with zeros to 10 KB, a tape drive to its block size. Endless zeros are not an archive.
_MAX_PADDING_BYTES = 64 << 20
_SKIPPED = b"skipped"


def list_tar(path: Path, large_bytes: int = _LARGE_BYTES, large_gzip_bytes: int = _LARGE_GZIP_BYTES) -> TarListing:
    """Lists the files in a tar.

    large_bytes, large_gzip_bytes: the size from which a plain tar and a gzip tar are listed in a subprocess.
    Raises InputError if the tar ends before its end mark, and what reading raises.
    """
    if path.stat().st_size >= (large_gzip_bytes if is_gzip(path) else large_bytes) and has_spare_core():
        listing = _list_in_subprocess(path)
        if listing is not None:
            return listing
    return _list_in_process(path)


def tar_error(path: Path, cause: str) -> InputError:
    """The error for a tar that is damaged or cut off."""
    return InputError(f"{path}: tar must be whole, but: {cause}; it was probably cut off: fetch it again")


def _list_in_process(path: Path) -> TarListing:
    with open_plain_or_gzip(path) as file:
        listing = list_plain(file)
        if listing is None:
            file.seek(0)
            listing = list_any(file)
        if listing.last_block != EMPTY_BLOCK:
            raise tar_error(path, "it ends, or is damaged, before the two empty blocks that end a tar")
        padding = 0
        while chunk := file.read(_SKIP_CHUNK_BYTES):  # up to the end of the file, where gzip's checksum is
            padding += len(chunk)
            if padding > _MAX_PADDING_BYTES:
                raise tar_error(path, f"more than {_MAX_PADDING_BYTES} bytes follow its end mark")
    return listing


def _list_in_subprocess(path: Path) -> TarListing | None:
    """Lists the tar in a subprocess. Returns None if that fails: listing in this process then raises the same error."""
    output = read_output(module_command(__name__, str(path)))
    if output is None:
        return None
    members = pa.ipc.open_stream(output).read_all()
    skipped = Counter[str](json.loads(members.schema.metadata[_SKIPPED]))
    return TarListing(members.replace_schema_metadata(), skipped)


def main(path: str) -> None:
    """Writes the table of a tar's files to stdout, as an Arrow stream. The subprocess runs this."""
    keep_freed_memory()
    listing = _list_in_process(Path(path))
    members = listing.members.replace_schema_metadata({_SKIPPED: json.dumps(listing.skipped)})
    with pa.ipc.new_stream(sys.stdout.buffer, members.schema) as stream:
        stream.write_table(members)
