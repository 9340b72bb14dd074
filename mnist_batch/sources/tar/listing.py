"""Lists the files in a tar, plain or gzip, by reading it from start to end."""

from __future__ import annotations

from pathlib import Path

from mnist_batch.errors import InputError
from mnist_batch.sources.gzipped import open_plain_or_gzip
from mnist_batch.sources.tar.headers import EMPTY_BLOCK, TarListing, list_any, list_plain

_SKIP_CHUNK_BYTES = 1 << 20
# GNU tar pads with zeros to 10 KB, a tape drive to its block size. Endless zeros are not an archive.
_MAX_PADDING_BYTES = 64 << 20


def tar_error(path: Path, cause: str) -> InputError:
    """The error for a tar that is damaged or cut off."""
    return InputError(f"{path}: tar must be whole, but: {cause}; it was probably cut off: fetch it again")


def list_tar(path: Path) -> TarListing:
    """Lists the files in a tar. Raises InputError if it ends before its end mark, and what reading raises."""
    with open_plain_or_gzip(path) as file:
        listing = list_plain(file)
        if listing is None:
            file.seek(0)
            listing = list_any(file)
        if listing.last_block != EMPTY_BLOCK:
            raise tar_error(path, "it ends, or is damaged, before the two empty blocks that end a tar")
        padding = 0
        while chunk := file.read(_SKIP_CHUNK_BYTES):  # up to the end of the file, where gzip's checksum is
            if chunk.count(0) < len(chunk):
                raise InputError(
                    f"{path}: a tar must end at its end mark, but more data follows: if tars were joined into one "
                    "file, name them one by one"
                )
            padding += len(chunk)
            if padding > _MAX_PADDING_BYTES:
                raise tar_error(path, f"more than {_MAX_PADDING_BYTES} bytes follow its end mark")
    return listing
