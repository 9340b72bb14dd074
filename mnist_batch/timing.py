"""Where a run's time goes: seconds by stage, so that a person sees what bounds their run."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum


class Stage(StrEnum):
    """READ: from disk, inflated, as rows; DECODE: image files to pixels; FRAME: pixels to MNIST form;
    MODEL: waiting for the model, while it had rows to score; COUNT: what the report counts; WRITE: parts and their
    records.
    """

    READ = "read"
    DECODE = "decode"
    FRAME = "frame"
    MODEL = "model"
    COUNT = "count"
    WRITE = "write"


def total(laps: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """The seconds of all laps together, by stage."""
    seconds: defaultdict[str, float] = defaultdict(float)
    for lap in laps:
        for stage, more in lap.items():
            seconds[stage] += more
    return dict(seconds)


class Stopwatch:
    """Counts a thread's seconds by stage. While a stage runs within another, the outer one's stand still."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._running: list[str] = []
        self._since = time.perf_counter()

    @contextmanager
    def stage(self, stage: Stage) -> Iterator[None]:
        """Counts for `stage` while the block runs."""
        self._count()
        self._running.append(stage.value)
        try:
            yield
        finally:
            self._count()
            self._running.pop()

    def lap(self) -> Mapping[str, float]:
        """The seconds since the last lap, by stage."""
        seconds, self._seconds = self._seconds, defaultdict(float)
        return seconds

    def _count(self) -> None:
        now = time.perf_counter()
        if self._running:
            self._seconds[self._running[-1]] += now - self._since
        self._since = now
