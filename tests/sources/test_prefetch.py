import os
import signal
from contextlib import closing
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest

from mnist_batch import runtime as process
from mnist_batch.errors import InputError
from mnist_batch.records import ImageError, RejectReason
from mnist_batch.sources.folder import prefetch as files_ahead
from mnist_batch.sources.folder import reader as folder
from mnist_batch.sources.folder.read_files import MOST_BYTES
from mnist_batch.sources.folder.reader import FolderSource

pytestmark = pytest.mark.skipif(not files_ahead.can_prefetch(), reason="needs Linux and two cores")
COUNT = 5000


@pytest.fixture(scope="module")
def contents():
    random = np.random.default_rng(0)
    sizes = random.integers(0, 600, COUNT)
    sizes[[7, 3000]] = MOST_BYTES, MOST_BYTES + 1
    return [random.bytes(size) for size in sizes]


@pytest.fixture
def source(tmp_path, contents, monkeypatch):
    monkeypatch.setattr(folder, "_MIN_PREFETCHED", 1)
    names = [b"%04d \xff\n.png" % number for number in range(COUNT)]
    for name, content in zip(names, contents, strict=True):
        (tmp_path / os.fsdecode(name)).write_bytes(content)
    found = [(tmp_path / os.fsdecode(name)).stat() for name in names]
    columns = {
        "path": pa.array(names, pa.binary()),
        "label": pa.nulls(COUNT, pa.int8()),
        "size": [status.st_size for status in found],
        "changed": [status.st_mtime_ns for status in found],
    }
    return FolderSource(tmp_path, pa.table(columns), labelled=False)


def read(reader, start, stop):
    return [image for rows in reader.read(start, stop) for image in rows.images]


def path_of(source, row):
    return source.root / os.fsdecode(source.files["path"][row].as_py())


@pytest.mark.parametrize("cuts", [[0, 1000, 2000, COUNT], [0, 3, 4099, 4100, COUNT], [100, 200, 4000, 4001]])
def test_files_read_ahead_are_those_on_disk(source, contents, cuts):
    with closing(source.open()) as reader:
        for start, stop in pairwise(cuts):
            assert read(reader, start, stop) == contents[start:stop]
        assert reader._prefetcher is not None


def test_rows_in_any_order_are_right(source, contents):
    with closing(source.open()) as reader:
        for start, stop in [(0, 10), (10, 20), (500, 600), (600, 700), (600, 700), (0, 10), (10, 5000)]:
            assert read(reader, start, stop) == contents[start:stop]


def test_rows_that_were_not_taken_to_the_end_do_not_shift_the_next(source, contents):
    with closing(source.open()) as reader:
        read(reader, 0, 10)
        rows = reader.read(10, 20)
        next(iter(rows[0].images))
        assert read(reader, 20, 30) == contents[20:30]


def test_questions_that_do_not_fit_the_pipe_are_asked_one_by_one(source, contents, monkeypatch):
    monkeypatch.setattr(process, "_PIPE_BYTES", 4096)
    monkeypatch.setattr(files_ahead, "_FILES", 1000)
    with closing(source.open()) as reader:
        assert read(reader, 0, 10) + read(reader, 10, COUNT) == contents


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_what_cannot_be_read_is_told_as_ever(source):
    path_of(source, 20).chmod(0)
    with closing(source.open()) as reader:
        read(reader, 0, 10)
        images = read(reader, 10, 30)
    assert images[10] == ImageError(RejectReason.UNREADABLE, "Permission denied")
    assert all(isinstance(image, bytes) for image in images[:10])


@pytest.mark.parametrize("change", [lambda path: path.write_bytes(b"another"), lambda path: path.unlink()])
def test_a_file_that_is_another_or_gone_ends_the_run(source, change):
    change(path_of(source, 4500))
    with closing(source.open()) as reader:
        read(reader, 0, 10)
        with pytest.raises(InputError, match="start again"):
            read(reader, 10, COUNT)


def test_when_the_process_is_killed_the_files_are_read_without_it(source, contents):
    with closing(source.open()) as reader:
        read(reader, 0, 10)
        assert read(reader, 10, 20) == contents[10:20]
        process = reader._prefetcher._process
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert read(reader, 20, 3000) == contents[20:3000]
        assert read(reader, 3000, COUNT) == contents[3000:]


def test_without_a_process_to_spare_the_files_are_read_without_it(source, contents, monkeypatch):
    def none(*_, **__):
        raise BlockingIOError

    monkeypatch.setattr(files_ahead.subprocess, "Popen", none)
    with closing(source.open()) as reader:
        assert read(reader, 0, 10) + read(reader, 10, COUNT) == contents


def test_the_process_ends_with_the_reader_even_while_it_waits_for_room(source):
    with closing(source.open()) as reader:
        read(reader, 0, 10)
        read(reader, 10, 20)
        process = reader._prefetcher._process
        assert process.poll() is None
    assert process.returncode == -signal.SIGKILL
