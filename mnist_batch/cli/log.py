"""What is told on stderr, a line each: as text for a person, or as JSON objects for whatever collects logs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, TextIO

from mnist_batch.config import LogFormat
from mnist_batch.names import printable


class Log:
    """Lines to a stream. `live`: whether a person watches, and a line may be drawn over."""

    def __init__(self, stream: TextIO, format: LogFormat = LogFormat.TEXT) -> None:
        self.stream = stream
        self._format = format
        self.live = format is LogFormat.TEXT and stream.isatty()

    def info(self, line: str, **fields: Any) -> None:
        """A sign of life. fields: what stands in the line, for machines."""
        self._write("info", "", line, fields)

    def warning(self, line: str) -> None:
        self._write("warning", "mnist-batch: ", line, {})

    def error(self, line: str, trace: str = "") -> None:
        """trace: the traceback of a bug, which precedes the line, or stands in its object."""
        self._write("error", f"{trace}mnist-batch: ", line, {"traceback": trace} if trace else {})

    def _write(self, level: str, prefix: str, line: str, fields: Mapping[str, Any]) -> None:
        text = printable(f"{prefix}{line}")
        if self._format is LogFormat.JSON:
            time = datetime.now(UTC).isoformat(timespec="milliseconds")
            said = {"time": time, "level": level, "message": printable(line), **fields}
            text = json.dumps(said, separators=(",", ":"))
        with suppress(OSError):  # nobody may be listening any more; that ends no run
            print(text, file=self.stream, flush=True)
