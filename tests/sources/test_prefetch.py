"""A subprocess reads small files ahead. Whatever happens to it, the rows stay the same."""

import os
import signal
from collections.abc import Callable
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mnist_batch.errors import InputError
from mnist_batch.records import EncodedRows, ImageError, RejectReason, StoredImage
from mnist_batch.sources.folder.prefetch import FilePrefetcher, can_prefetch
from mnist_batch.sources.folder.read_files import MAX_BYTES
from mnist_batch.sources.folder.reader import FolderReader, FolderSource
from sources.conftest import StartedProcess

pytestmark = pytest.mark.skipif(not can_prefetch(), reason="needs Linux and two cores")
COUNT = 5000


@pytest.fixture(scope="module")
def contents() -> list[bytes]:
    random = np.random.default_rng(0)
    sizes = random.integers(0, 600, COUNT)
    sizes[[7, 3000]] = MAX_BYTES, MAX_BYTES + 1
    return [random.bytes(size) for size in sizes]


@pytest.fixture
def source(tmp_path: Path, contents: list[bytes]) -> FolderSource:
    names = [b"%04d \xff\n.png" % number for number in range(COUNT)]
    for name, content in zip(names, contents, strict=True):
        (tmp_path / os.fsdecode(name)).write_bytes(content)
    statuses = [(tmp_path / os.fsdecode(name)).stat() for name in names]
    columns = {
        "path": pa.array(names, pa.binary()),
        "label": pa.nulls(COUNT, pa.int8()),
        "size": [status.st_size for status in statuses],
        "changed": [status.st_mtime_ns for status in statuses],
        "page": pa.nulls(COUNT, pa.int32()),
    }
    return FolderSource(tmp_path, pa.table(columns), labelled=False)


@pytest.fixture
def reader(source: FolderSource) -> FolderReader:
    """A reader that prefetches, however few files are left."""
    return FolderReader(source, prefetch_min_files=1)


def read(reader: FolderReader, start: int, stop: int) -> list[StoredImage]:
    return [image for rows in reader.read(start, stop) if isinstance(rows, EncodedRows) for image in rows.images]


def path_of(source: FolderSource, row: int) -> Path:
    return source.root / os.fsdecode(source.files["path"][row].as_py())


@pytest.mark.parametrize("cuts", [[0, 1000, 2000, COUNT], [0, 3, 4099, 4100, COUNT], [100, 200, 4000, 4001]])
def test_prefetched_files_are_those_on_disk(
    reader: FolderReader, contents: list[bytes], subprocesses: list[StartedProcess], cuts: list[int]
) -> None:
    with closing(reader):
        for start, stop in pairwise(cuts):
            assert read(reader, start, stop) == contents[start:stop]
        (process,) = subprocesses
        assert process.poll() is None


def test_reads_in_any_order(reader: FolderReader, contents: list[bytes]) -> None:
    with closing(reader):
        for start, stop in [(0, 10), (10, 20), (500, 600), (600, 700), (600, 700), (0, 10), (10, 5000)]:
            assert read(reader, start, stop) == contents[start:stop]


def test_unfinished_read_does_not_shift_rows(reader: FolderReader, contents: list[bytes]) -> None:
    with closing(reader):
        read(reader, 0, 10)
        (rows,) = reader.read(10, 20)
        assert isinstance(rows, EncodedRows)
        next(iter(rows.images))
        assert read(reader, 20, 30) == contents[20:30]


def test_requests_wait_for_room_in_the_pipe(source: FolderSource, contents: list[bytes]) -> None:
    root = os.fsencode(source.root)
    with closing(FilePrefetcher(root, source.files, 10, request_files=1000, pipe_bytes=4096)) as prefetcher:
        prefetched = list(prefetcher.take(COUNT - 10))
    assert prefetched == [content if len(content) <= MAX_BYTES else None for content in contents[10:]]


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_unreadable_file_is_a_reject(source: FolderSource, reader: FolderReader) -> None:
    path_of(source, 20).chmod(0)
    with closing(reader):
        read(reader, 0, 10)
        images = read(reader, 10, 30)
    assert images[10] == ImageError(RejectReason.UNREADABLE, "Permission denied")
    assert all(isinstance(image, bytes) for image in images[:10])


@pytest.mark.parametrize("change", [lambda path: path.write_bytes(b"another"), lambda path: path.unlink()])
def test_changed_or_missing_file_is_an_error(
    source: FolderSource, reader: FolderReader, change: Callable[[Path], object]
) -> None:
    change(path_of(source, 4500))
    with closing(reader):
        read(reader, 0, 10)
        with pytest.raises(InputError, match="start again"):
            read(reader, 10, COUNT)


def test_reading_survives_a_killed_subprocess(
    reader: FolderReader, contents: list[bytes], subprocesses: list[StartedProcess]
) -> None:
    with closing(reader):
        read(reader, 0, 10)
        assert read(reader, 10, 20) == contents[10:20]
        (process,) = subprocesses
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert read(reader, 20, 3000) == contents[20:3000]
        assert read(reader, 3000, COUNT) == contents[3000:]


def test_reading_without_a_subprocess(
    reader: FolderReader, contents: list[bytes], refused_commands: list[list[str]]
) -> None:
    with closing(reader):
        assert read(reader, 0, 10) + read(reader, 10, COUNT) == contents
    assert refused_commands


def test_closing_ends_the_subprocess(reader: FolderReader, subprocesses: list[StartedProcess]) -> None:
    with closing(reader):
        read(reader, 0, 10)
        read(reader, 10, 20)
        (process,) = subprocesses
        assert process.poll() is None
    assert process.returncode == -signal.SIGKILL
