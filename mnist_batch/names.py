r"""File names as text: UTF-8, with `\xNN` for each byte that is not valid UTF-8."""

from __future__ import annotations

import re

# Surrogate escapes (PEP 383), which can be written neither to a stream nor to JSON.
_NOT_UTF8 = re.compile("[\udc80-\udcff]")


def to_text(path: bytes) -> str:
    """Converts a path to the text used in ids."""
    return path.decode("utf-8", "backslashreplace")


def printable(text: object) -> str:
    """Converts a path, or text that contains paths, to text that can be printed."""
    return _NOT_UTF8.sub(lambda found: f"\\x{ord(found[0]) - 0xDC00:02x}", str(text))
