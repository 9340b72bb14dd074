"""Reads small files of a folder ahead, in a subprocess.

Half the time of opening and reading a small file is spent in Python: a thread would hold up all other threads. The
subprocess handles only the plain case, a file that is unchanged since it was listed. It reports every other file as not
read, and the caller reads that file itself. The same happens if the subprocess ends.
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

from mnist_batch.sources.child_process import PIPE_BYTES, has_spare_core, script_command, widen_pipe
from mnist_batch.sources.folder import read_files

# The most that one request asks for.
_REQUEST_FILES, _REQUEST_BYTES = 4096, 1 << 22


def can_prefetch() -> bool:
    """Whether this system can enlarge pipes and has a spare core."""
    return hasattr(fcntl, "F_SETPIPE_SZ") and has_spare_core()


class FilePrefetcher:
    """Reads files ahead in order, from row `position` on.

    root: the folder that paths are relative to.
    files: a table of `path`, `size` and `changed`, as in `FolderSource`.
    position: the row of the file that `take` returns next.
    request_files: the most files in one request.
    pipe_bytes: the buffer size of the pipes.
    Raises OSError if the system cannot start a process or enlarge its pipes.
    """

    def __init__(
        self,
        root: bytes,
        files: pa.Table,
        position: int,
        request_files: int = _REQUEST_FILES,
        pipe_bytes: int = PIPE_BYTES,
    ) -> None:
        self.position = position
        self._files, self._next_request, self._request_files = files, position, request_files
        # Requests without an answer yet: their number of files and their length in bytes.
        self._pending: deque[tuple[int, int]] = deque()
        self._received: deque[bytes | None] = deque()
        self._process = subprocess.Popen(
            script_command(read_files.__file__, root),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # a terminal's interrupt reaches only this process, which then ends the other
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        try:
            self._pipe_bytes = min(widen_pipe(self._stdin, pipe_bytes), widen_pipe(self._stdout, pipe_bytes))
        except OSError:
            self.close()
            raise

    def take(self, count: int) -> Iterator[bytes | None]:
        """Yields the contents of the next `count` files, None for each that was not read."""
        while count:
            try:
                self._send_requests()
                if not self._received:
                    self._receive_answer()
            except OSError:  # the subprocess has ended
                self.position += count
                yield from [None] * count
                return
            for _ in range(min(count, len(self._received))):
                self.position += 1
                count -= 1
                yield self._received.popleft()

    def close(self) -> None:
        """Ends the subprocess."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._stdin, self._stdout):
            with suppress(OSError):  # flushing an unsent request fails
                pipe.close()

    def _send_requests(self) -> None:
        """Keeps two requests pending. Sends only what fits the pipe, or both sides deadlock: this one waiting for room
        for a request, the other for room for an answer.
        """
        while len(self._pending) < 2 and self._next_request < len(self._files):
            files = self._files.slice(self._next_request, self._request_files)
            sizes = files["size"].to_numpy()
            fitting = int(np.searchsorted(np.cumsum(sizes), _REQUEST_BYTES, side="right"))
            files, sizes = files.slice(0, max(1, fitting)), sizes[: max(1, fitting)]
            paths = b"\0".join(files["path"].to_pylist())
            numbers = np.concatenate([[len(sizes), len(paths)], sizes, files["changed"].to_numpy()])
            request = numbers.astype(np.int64).tobytes() + paths
            if self._pending and len(request) + sum(length for _, length in self._pending) > self._pipe_bytes:
                return
            self._pending.append((len(sizes), len(request)))
            self._next_request += len(sizes)
            self._stdin.write(request)
            self._stdin.flush()

    def _receive_answer(self) -> None:
        """Receives the answer to the oldest pending request."""
        count, _ = self._pending.popleft()
        lengths = np.frombuffer(self._read(8 * count), np.int64)
        content_lengths = np.maximum(lengths, 0)
        content = self._read(int(content_lengths.sum()))
        bounds = accumulate(content_lengths.tolist(), initial=0)
        for length, (start, stop) in zip(lengths.tolist(), pairwise(bounds), strict=True):
            self._received.append(None if length == read_files.NOT_READ else content[start:stop])

    def _read(self, count: int) -> bytes:
        content = self._stdout.read(count)
        if len(content) < count:
            raise BrokenPipeError
        return content
