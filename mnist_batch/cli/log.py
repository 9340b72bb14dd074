"""Lines on stderr: text for a person, or JSON objects for a log collector."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, TextIO

from mnist_batch.config import LogFormat
from mnist_batch.names import printable


class Log:
    """Writes lines to a stream. live: whether a progress bar can be redrawn: text on a terminal."""

    def __init__(self, stream: TextIO, format: LogFormat = LogFormat.TEXT) -> None:
        self.stream = stream
        self._format = format
        self.live = format is LogFormat.TEXT and stream.isatty()

    def info(self, line: str, **fields: Any) -> None:
        """Writes progress. fields: the figures in the line, for machines."""
        self._write("info", "", line, fields)

    def warning(self, line: str) -> None:
        self._write("warning", "mnist-batch: ", line, {})

    def error(self, line: str, trace: str = "") -> None:
        """Writes an error. trace: the traceback of a bug, written before the line or as a field of its object."""
        self._write("error", f"{trace}mnist-batch: ", line, {"traceback": trace} if trace else {})

    def _write(self, level: str, prefix: str, line: str, fields: Mapping[str, Any]) -> None:
        text = printable(f"{prefix}{line}")
        if self._format is LogFormat.JSON:
            time = datetime.now(UTC).isoformat(timespec="milliseconds")
            text = json.dumps(
                {"time": time, "level": level, "message": printable(line), **fields}, separators=(",", ":")
            )
        with suppress(OSError):  # a closed stderr does not end a run
            print(text, file=self.stream, flush=True)
