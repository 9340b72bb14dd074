"""Small files of a folder, read ahead in a process of its own.

Of opening and reading a small file half is Python's: in a thread it would hold up all others. The process has only the
plain case, a file that is as it was listed; whatever else there is, and should the process end, is left to who asks.
"""

from __future__ import annotations

import fcntl
import subprocess
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from itertools import accumulate, pairwise

import numpy as np
import pyarrow as pa

from mnist_batch.runtime import has_spare_core, script_command, widen_pipe
from mnist_batch.sources.folder import read_files

# Asked for at once, at most: so many files, and so many bytes of them.
_FILES, _BYTES = 4096, 1 << 22


def can_prefetch() -> bool:
    """Whether this system has pipes with enough room, and a core to spare."""
    return hasattr(fcntl, "F_SETPIPE_SZ") and has_spare_core()


class FilePrefetcher:
    """The files in a table of `path` (relative to `root`), `size` and `changed`, from row `position` on, in order.

    position: the row of the file that comes next. Raises OSError where the system has no process or pipe to spare.
    """

    def __init__(self, root: bytes, files: pa.Table, position: int) -> None:
        self._files, self._requested, self.position = files, position, position
        # Of what was asked and is not answered yet: how many files, how many bytes the question has.
        self._pending: deque[tuple[int, int]] = deque()
        self._received: deque[bytes | None] = deque()
        self._process = subprocess.Popen(
            script_command(read_files.__file__, root),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # whoever interrupts the run interrupts us, and we end it
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._to, self._from = self._process.stdin, self._process.stdout
        try:
            self._pipe_bytes = min(widen_pipe(self._to), widen_pipe(self._from))
        except OSError:
            self.close()
            raise

    def take(self, count: int) -> Iterator[bytes | None]:
        """The next `count` files, None for those that were not read."""
        while count:
            try:
                self._send_requests()
                if not self._received:
                    self._receive_answer()
            except OSError:  # it has ended
                self.position += count
                yield from [None] * count
                return
            for _ in range(min(count, len(self._received))):
                self.position += 1
                count -= 1
                yield self._received.popleft()

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._to, self._from):
            with suppress(OSError):  # of what it was still to be asked
                pipe.close()

    def _send_requests(self) -> None:
        """Keeps two questions open, if they fit the pipe: a question that had to wait for room would wait for ever,
        should its answerer wait for us to make room for an answer.
        """
        while len(self._pending) < 2 and self._requested < len(self._files):
            files = self._files.slice(self._requested, _FILES)
            sizes = files["size"].to_numpy()
            fitting = int(np.searchsorted(np.cumsum(sizes), _BYTES, side="right"))
            files, sizes = files.slice(0, max(1, fitting)), sizes[: max(1, fitting)]
            paths = b"\0".join(files["path"].to_pylist())
            numbers = np.concatenate([[len(sizes), len(paths)], sizes, files["changed"].to_numpy()])
            question = numbers.astype(np.int64).tobytes() + paths
            if self._pending and len(question) + sum(length for _, length in self._pending) > self._pipe_bytes:
                return
            self._pending.append((len(sizes), len(question)))
            self._requested += len(sizes)
            self._to.write(question)
            self._to.flush()

    def _receive_answer(self) -> None:
        """The answer to the first open question."""
        count, _ = self._pending.popleft()
        lengths = np.frombuffer(self._read(8 * count), np.int64)
        read = np.maximum(lengths, 0)
        content = self._read(int(read.sum()))
        stops = accumulate(read.tolist(), initial=0)
        for length, (start, stop) in zip(lengths.tolist(), pairwise(stops), strict=True):
            self._received.append(None if length == read_files.NOT_READ else content[start:stop])

    def _read(self, count: int) -> bytes:
        content = self._from.read(count)
        if len(content) < count:
            raise BrokenPipeError
        return content
