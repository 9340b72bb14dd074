"""How far a run is, and where its time goes: progress callbacks and seconds by stage."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum

# Called with the number of rows done and the number of rows in total. Must not raise.
ProgressCallback = Callable[[int, int], None]
# Called by a worker with the number of rows done. Must not raise.
RowsCallback = Callable[[int], None]
# Called between batches. Raises an exception to stop the work.
StopCheck = Callable[[], None]


def ignore_progress(done: int, total: int) -> None:
    """A `ProgressCallback` that does nothing."""


def never_stop() -> None:
    """A `StopCheck` that never stops the work."""


class Stage(StrEnum):
    """The stages of scoring.

    READ: read from disk, inflate, split into rows.
    DECODE: image files to pixels.
    FRAME: pixels to MNIST form.
    MODEL: wait for the model while it has rows to score.
    COUNT: count for the report.
    WRITE: write parts and their records.
    """

    READ = "read"
    DECODE = "decode"
    FRAME = "frame"
    MODEL = "model"
    COUNT = "count"
    WRITE = "write"


def add_laps(laps: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Adds up the seconds of all laps, by stage."""
    seconds: defaultdict[str, float] = defaultdict(float)
    for lap in laps:
        for stage, more in lap.items():
            seconds[stage] += more
    return dict(seconds)


class Stopwatch:
    """Measures the seconds of one thread by stage. An inner stage pauses the outer one."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._running: list[str] = []
        self._since = time.perf_counter()

    @contextmanager
    def stage(self, stage: Stage) -> Iterator[None]:
        """Counts the time of the block for `stage`."""
        self._count()
        self._running.append(stage.value)
        try:
            yield
        finally:
            self._count()
            self._running.pop()

    def lap(self) -> Mapping[str, float]:
        """Returns the seconds since the last lap, by stage."""
        seconds, self._seconds = self._seconds, defaultdict(float)
        return seconds

    def _count(self) -> None:
        now = time.perf_counter()
        if self._running:
            self._seconds[self._running[-1]] += now - self._since
        self._since = now
