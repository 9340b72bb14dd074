"""Members of an archive that are side by side are read at once."""

import zipfile
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mnist_batch.config import PreprocessOptions, ReadOptions
from mnist_batch.records import EncodedRows
from mnist_batch.run.reading import Readers
from mnist_batch.sources.discover import open_inputs
from mnist_batch.sources.members import MAX_GAP_BYTES, contiguous_runs

OFFSET = st.integers(0, 4 << 20) | st.sampled_from([0, 2**62])


@given(st.lists(st.tuples(OFFSET, OFFSET | st.integers(0, 900))), st.booleans())
def test_runs_hold_each_member_once_in_order(members: list[tuple[int, int]], in_order: bool) -> None:
    members = sorted(members) if in_order else members
    offsets, sizes = np.array(members, np.int64).reshape(-1, 2).T
    runs = list(contiguous_runs(offsets, sizes))
    assert [row for first, stop in runs for row in range(first, stop)] == list(range(len(members)))
    for first, stop in runs:
        ends = [offset + size for offset, size in members[first:stop]]
        assert stop == first + 1 or ends[-1] - members[first][0] <= 1 << 20
        gaps = [members[row][0] - end for row, end in enumerate(ends[:-1], first + 1)]
        assert all(0 <= gap <= MAX_GAP_BYTES for gap in gaps)


def test_runs_read_what_was_written(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    contents = [generator.bytes(size) for size in (1, 0, 700, 300_000, 800_000, 2_000_000, 5, 0, 9)]
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for number, content in enumerate(contents):
            archive.writestr(f"{number}.png", content, (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)[number // 2 % 2])
            archive.writestr(f"{number}.txt", bytes(3000 * number))
    inputs = open_inputs((str(tmp_path / "a.zip"),), ReadOptions())
    readers = Readers(inputs.sources, inputs.stamps, PreprocessOptions())
    images: list[object] = []
    for span in inputs.spans:
        readers.map_pieces(span, lambda rows: images.extend(rows.images if isinstance(rows, EncodedRows) else ()))
    readers.close()
    assert images == contents
