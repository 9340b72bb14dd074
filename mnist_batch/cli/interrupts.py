"""SIGINT and SIGTERM, in a program whose main thread may sit in a TensorFlow op for seconds.

A Python signal handler does not run until that op returns (6 s were seen). So they are blocked, before TensorFlow
starts threads that would inherit the old mask, and a thread of our own waits for them: it leaves a mark that the
run looks at, and when nobody has looked after a while it ends the process, which is as safe as `kill -9` is.
So it does when the run has looked, but its way out takes too long. A signal that was ignored when the program began,
as SIGINT is for a shell's background job, stays ignored.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence

from mnist_batch.errors import InterruptedRun

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# Cron, systemd and Airflow kill after 5 s at the earliest; a batch of 4,096 rows takes 0.05 s.
_GRACE_SECONDS = 1.5
# For the way out, which waits for the batches in flight: with the patience above well below 10 s.
_UNWINDING_SECONDS = 5.0


class Interrupts:
    """Waits for a signal from `start` on.

    report_interrupt: called with the error when the process is ended outright; outcome: as in `InterruptedRun`.
    """

    def __init__(self, report_interrupt: Callable[[InterruptedRun], object], outcome: str) -> None:
        self._report_interrupt = report_interrupt
        self._outcome = outcome
        self._received: InterruptedRun | None = None
        # Whoever has it tells of the interruption: the run, or the thread that waits.
        self._turn = threading.Lock()
        self._acknowledged = threading.Event()

    def start(self) -> None:
        """To be called in the main thread, before TensorFlow is imported."""
        awaited = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        if awaited:
            signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
            threading.Thread(target=self._wait, args=(awaited,), name="signals", daemon=True).start()

    def check_interrupted(self) -> None:
        """Raises InterruptedRun once a signal has come."""
        if self._received is None:
            return
        if not self._turn.acquire(blocking=False):
            threading.Event().wait()  # too late: the other thread is ending the process
        self._acknowledged.set()
        raise self._received

    def _wait(self, awaited: Sequence[signal.Signals]) -> None:
        self._received = InterruptedRun(signal.sigwait(awaited), self._outcome)
        self._acknowledged.wait(_GRACE_SECONDS)
        if not self._turn.acquire(blocking=False):
            time.sleep(_UNWINDING_SECONDS)
        self._report_interrupt(self._received)
        os._exit(self._received.exit_code)
