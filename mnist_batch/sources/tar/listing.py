"""What is in a tar, plain or gzip, gone through from its start to its end.

Of a large one in a process of its own: beside the import of TensorFlow, which needs the interpreter for itself for two
seconds, that takes four times as long here.
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
from mnist_batch.sources.tar.headers import BLOCK, TarListing, list_any, list_plain

# From how many bytes on a tar is large, and one in gzip: 0.3 seconds' work, as long as the process takes to start.
_LARGE, _LARGE_GZIP = 1 << 28, 1 << 26
_SKIP_CHUNK = 1 << 20
# GNU tar fills up with zeros to 10 KB, a tape drive to its block; zeros without end are no archive.
_MOST_BYTES_AFTER = 64 << 20
_SKIPPED = b"skipped"


def list_tar(path: Path) -> TarListing:
    """The files in a tar. Raises InputError where it ends before its end mark, and what reading raises."""
    if path.stat().st_size >= (_LARGE_GZIP if is_gzip(path) else _LARGE) and has_spare_core():
        found = _list_in_subprocess(path)
        if found is not None:
            return found
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
        last = listing.last
        if last != bytes(BLOCK):
            raise tar_error(path, "it ends, or is damaged, before the two empty blocks that end a tar")
        after = 0
        while chunk := file.read(_SKIP_CHUNK):  # to the end of the file, where gzip's checksum is
            after += len(chunk)
            if after > _MOST_BYTES_AFTER:
                raise tar_error(path, f"more than {_MOST_BYTES_AFTER} bytes follow on its end mark")
    return listing


def _list_in_subprocess(path: Path) -> TarListing | None:
    """The same by a process of its own; None where that fails, for whatever reason: then we shall meet it too."""
    printed = read_output(module_command(__name__, str(path)))
    if printed is None:
        return None
    members = pa.ipc.open_stream(printed).read_all()
    skipped = Counter[str](json.loads(members.schema.metadata[_SKIPPED]))
    return TarListing(members.replace_schema_metadata(), skipped)


def main(path: str) -> None:
    """Writes the table of a tar's files to stdout, as an Arrow stream."""
    keep_freed_memory()
    listing = _list_in_process(Path(path))
    members = listing.members.replace_schema_metadata({_SKIPPED: json.dumps(listing.skipped)})
    with pa.ipc.new_stream(sys.stdout.buffer, members.schema) as stream:
        stream.write_table(members)
