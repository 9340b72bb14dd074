"""The check for inputs that cannot be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from contracts import read_all

from mnist_batch.config import ReadOptions
from mnist_batch.errors import InputError, InputMissingError, MnistBatchError, UsageError
from mnist_batch.sources.discover import open_inputs


def fails(path: Path, error: type[MnistBatchError], match: str, **options: Any) -> None:
    """Checks that opening or reading `path` fails with one line that names it, and with the error's exit code."""
    with pytest.raises(error, match=match) as caught:
        read_all(open_inputs((str(path),), ReadOptions(**options)))
    text = str(caught.value)
    assert "\n" not in text
    assert path.name in text
    assert caught.value.exit_code == {InputError: 65, InputMissingError: 66, UsageError: 2}[error]
