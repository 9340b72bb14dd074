"""SIGINT, SIGTERM and the like in a program whose main thread may be inside a TensorFlow op for seconds.

A Python signal handler does not run until that op returns; 6 s were measured. Therefore the signals are blocked before
TensorFlow starts threads, which inherit the mask, and a thread of our own waits for them. It records the signal for the
run to see. If the run does not check in time, or takes too long to stop, the thread ends the process, which is as safe
as `kill -9`. A signal that was ignored when the program started, such as SIGINT in a background job of a shell, stays
ignored.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence

from mnist_batch.errors import InterruptedRun

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGXCPU)
# Cron, systemd and Airflow kill after 5 s at the earliest. A batch of 4,096 rows takes 0.05 s.
_GRACE_SECONDS = 1.5
# The time to stop, including the batches in flight. With the grace period it stays well below 10 s.
_UNWINDING_SECONDS = 5.0


def block_signals() -> list[signal.Signals]:
    """Blocks the signals in this thread and those that it starts, and returns them. Call it in the main thread."""
    signals = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    if signals:
        signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    return signals


class Interrupts:
    """Waits for signals.

    report_interrupt: called with the error before this class ends the process.
    outcome: as in `InterruptedRun`.
    """

    def __init__(self, report_interrupt: Callable[[InterruptedRun], object], outcome: str) -> None:
        self._report_interrupt = report_interrupt
        self._outcome = outcome
        self._received: InterruptedRun | None = None
        # Held by the side that reports the interrupt: the run or the waiting thread.
        self._claimed = threading.Lock()
        self._acknowledged = threading.Event()

    def start(self) -> None:
        """Blocks the signals and starts to wait. Call it in the main thread, before TensorFlow is imported."""
        if signals := block_signals():
            threading.Thread(target=self._wait, args=(signals,), name="signals", daemon=True).start()

    def check_interrupted(self) -> None:
        """Raises InterruptedRun if a signal has arrived."""
        if self._received is None:
            return
        if not self._claimed.acquire(blocking=False):
            threading.Event().wait()  # too late: the waiting thread is ending the process
        self._acknowledged.set()
        raise self._received

    def _wait(self, signals: Sequence[signal.Signals]) -> None:
        self._received = InterruptedRun(signal.sigwait(signals), self._outcome)
        self._acknowledged.wait(_GRACE_SECONDS)
        if not self._claimed.acquire(blocking=False):
            time.sleep(_UNWINDING_SECONDS)
        self._report_interrupt(self._received)
        os._exit(self._received.exit_code)
