"""Files that several paths reach by symbolic links: each is read once."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc

from mnist_batch.sources.members import IMAGE_NAME, Skipped

_NAMED_FOR_IMAGES = re.compile(IMAGE_NAME.encode() + rb"|(^|/)[0-9]/[^/]*$", re.IGNORECASE)


def drop_repeated_links(table: pa.Table, links: Mapping[bytes, bytes], real_root: bytes, skipped: Skipped) -> pa.Table:
    """Keeps one path of each file that several paths reach by links, and counts the others as skipped.

    The path that is kept has an image suffix, or a folder named by a digit; otherwise it is the first. Hard links are
    not links in this sense: they are files of their own.

    table: a listing, with paths below the root.
    links: the real path of each of them that was reached by a link.
    real_root: the real path of the root.
    """
    paths = table["path"].combine_chunks()
    prefix = real_root.rstrip(b"/") + b"/"
    targets = {real.removeprefix(prefix) for real in links.values() if real.startswith(prefix)}
    listed = set(paths.filter(pc.is_in(paths, pa.array(sorted(targets), pa.binary()))).to_pylist())
    reached: dict[bytes, set[bytes]] = {}
    for path, real in links.items():
        reached.setdefault(real, set()).add(path)
    for real, names in reached.items():
        if (own := real.removeprefix(prefix)) in listed and own not in links:
            names.add(own)
    dropped: list[bytes] = []
    for names in reached.values():
        in_order = sorted(names)
        kept = next(filter(_NAMED_FOR_IMAGES.search, in_order), in_order[0])
        dropped += [name for name in in_order if name != kept]
    if not dropped:
        return table
    skipped["(link to a file that is read)"] += len(dropped)
    return table.filter(pc.invert(pc.is_in(table["path"], pa.array(dropped, pa.binary()))))


def real_path_if_linked(folder: bytes, real_root: bytes) -> bytes | None:
    """The real path of an input folder if it is itself a link, and other inputs may reach its files too."""
    real = os.path.realpath(folder)
    return real if os.path.islink(folder) and real != real_root else None  # noqa: PTH114  (bytes)
