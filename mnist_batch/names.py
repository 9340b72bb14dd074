r"""How the names of files are written: as UTF-8, with `\xNN` for each byte that is not."""

from __future__ import annotations

import re

# What Python makes of such a byte (PEP 383); no stream and no JSON takes it.
_NOT_UTF8 = re.compile("[\udc80-\udcff]")


def to_text(path: bytes) -> str:
    """A path as it is written in ids."""
    return path.decode("utf-8", "backslashreplace")


def printable(text: object) -> str:
    """A path, or text with paths in it, as it is printed."""
    return _NOT_UTF8.sub(lambda found: f"\\x{ord(found[0]) - 0xDC00:02x}", str(text))
