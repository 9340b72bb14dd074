"""Notes what is done to the files of a folder, in order."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


@contextmanager
def noted_events(folder: Path) -> Iterator[list[str]]:
    """Yields the list of events so far: `fsync PATH`, `rename PATH PATH`, `unlink PATH`, `rmdir PATH`, `mkdir PATH`.

    Paths are relative to the folder. What fails is not noted.
    """
    events: list[str] = []

    def note(name: str, *paths: object) -> None:
        events.append(" ".join([name, *(os.path.relpath(str(path), folder) for path in paths)]))

    def noting(name: str, function: Any, takes_two: bool = False) -> Any:
        def noted(*arguments: Any, **options: Any) -> Any:
            result = function(*arguments, **options)
            note(name, *arguments[: 2 if takes_two else 1])
            return result

        return noted

    fsync = os.fsync

    def noted_fsync(descriptor: int) -> None:
        fsync(descriptor)
        note("fsync", Path(f"/proc/self/fd/{descriptor}").readlink())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", noted_fsync)
        patch.setattr(os, "rename", noting("rename", os.rename, takes_two=True))
        for name in ("unlink", "rmdir", "mkdir"):
            patch.setattr(os, name, noting(name, getattr(os, name)))
        yield events
