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

from mnist_batch.runtime import core_to_spare, small_python, widened
from mnist_batch.sources.folder import read_files

# Asked for at once, at most: so many files, and so many bytes of them.
_FILES, _BYTES = 4096, 1 << 22


def can_read_ahead() -> bool:
    """Whether this system has pipes with enough room, and a core to spare."""
    return hasattr(fcntl, "F_SETPIPE_SZ") and core_to_spare()


class FilesAhead:
    """The files in a table of `path` (relative to `root`), `size` and `changed`, from row `position` on, in order.

    position: the row of the file that comes next. Raises OSError where the system has no process or pipe to spare.
    """

    def __init__(self, root: bytes, files: pa.Table, position: int) -> None:
        self._files, self._asked_for, self.position = files, position, position
        # Of what was asked and is not answered yet: how many files, how many bytes the question has.
        self._open: deque[tuple[int, int]] = deque()
        self._come: deque[bytes | None] = deque()
        self._process = subprocess.Popen(
            small_python(read_files.__file__, root),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # whoever interrupts the run interrupts us, and we end it
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._to, self._from = self._process.stdin, self._process.stdout
        try:
            self._room = min(widened(self._to), widened(self._from))
        except OSError:
            self.close()
            raise

    def take(self, count: int) -> Iterator[bytes | None]:
        """The next `count` files, None for those that were not read."""
        while count:
            try:
                self._ask_ahead()
                if not self._come:
                    self._receive()
            except OSError:  # it has ended
                self.position += count
                yield from [None] * count
                return
            for _ in range(min(count, len(self._come))):
                self.position += 1
                count -= 1
                yield self._come.popleft()

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._to, self._from):
            with suppress(OSError):  # of what it was still to be asked
                pipe.close()

    def _ask_ahead(self) -> None:
        """Keeps two questions open, if they fit the pipe: a question that had to wait for room would wait for ever,
        should its answerer wait for us to make room for an answer.
        """
        while len(self._open) < 2 and self._asked_for < len(self._files):
            files = self._files.slice(self._asked_for, _FILES)
            sizes = files["size"].to_numpy()
            fitting = int(np.searchsorted(np.cumsum(sizes), _BYTES, side="right"))
            files, sizes = files.slice(0, max(1, fitting)), sizes[: max(1, fitting)]
            paths = b"\0".join(files["path"].to_pylist())
            numbers = np.concatenate([[len(sizes), len(paths)], sizes, files["changed"].to_numpy()])
            question = numbers.astype(np.int64).tobytes() + paths
            if self._open and len(question) + sum(length for _, length in self._open) > self._room:
                return
            self._open.append((len(sizes), len(question)))
            self._asked_for += len(sizes)
            self._to.write(question)
            self._to.flush()

    def _receive(self) -> None:
        """The answer to the first open question."""
        count, _ = self._open.popleft()
        lengths = np.frombuffer(self._read(8 * count), np.int64)
        read = np.maximum(lengths, 0)
        content = self._read(int(read.sum()))
        stops = accumulate(read.tolist(), initial=0)
        for length, (start, stop) in zip(lengths.tolist(), pairwise(stops), strict=True):
            self._come.append(None if length == read_files.NOT_READ else content[start:stop])

    def _read(self, count: int) -> bytes:
        content = self._from.read(count)
        if len(content) < count:
            raise BrokenPipeError
        return content
