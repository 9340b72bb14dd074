"""The results of shards: what a worker returns, what is stored to resume a run, and their sum."""

from __future__ import annotations

import gzip
import zlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain

import msgspec

from mnist_batch.documents import Count, DocumentError, parse_document, parse_json
from mnist_batch.output.environment import Environment
from mnist_batch.output.files import FileRecord
from mnist_batch.report import tally as tallies
from mnist_batch.report.tally import Tally, TallyRecord
from mnist_batch.shards import Shard
from mnist_batch.timing import add_laps

# A record has up to 80 thumbnails. Level 6 makes it 22 KB in 2 ms.
_COMPRESSION = 6


@dataclass(frozen=True, slots=True)
class ShardResult:
    """The outcome of one shard. Every row is counted in `tally`, as a prediction or as a reject.

    preprocessing: number of images by what was done to them, for each source.
    files: size and SHA-256 of each part, by name.
    batch_splits: how many times a batch was split in two.
    seconds: by `timing.Stage`.
    environment: of the process that scored it; None for a shard that an earlier start scored.
    """

    index: int
    rows: int
    tally: Tally
    preprocessing: Mapping[int, Counter[str]]
    files: Mapping[str, FileRecord]
    batch_splits: int
    seconds: Mapping[str, float]
    environment: Environment | None = None


@dataclass(frozen=True, slots=True)
class ShardRecord:
    """What is stored of a `ShardResult`, so that the next start need not score the shard again."""

    index: int
    rows: Count
    batch_splits: Count
    files: Mapping[str, FileRecord]
    tally: TallyRecord
    preprocessing: Mapping[int, Mapping[str, Count]]
    seconds: Mapping[str, float]


def encode_result(result: ShardResult) -> bytes:
    """Returns a result as compressed JSON."""
    record = ShardRecord(
        index=result.index,
        rows=result.rows,
        batch_splits=result.batch_splits,
        files=result.files,
        tally=tallies.to_record(result.tally),
        preprocessing=result.preprocessing,
        seconds=result.seconds,
    )
    return gzip.compress(msgspec.json.encode(record), _COMPRESSION, mtime=0)


def decode_result(text: bytes, shard: Shard) -> ShardResult:
    """Returns the result of `shard` that `encode_result` wrote. Raises DocumentError for anything else."""
    try:
        content = parse_json(gzip.decompress(text))
    except (OSError, EOFError, zlib.error) as error:
        raise DocumentError(str(error)) from error
    record = parse_document(content, ShardRecord)
    tally = tallies.from_record(record.tally)
    number = f"part-{shard.index:05d}"
    parts = {f"predictions/{number}"} | ({f"rejects/{number}"} if tally.rejected else set())
    matches = (
        record.index == shard.index
        and record.rows == shard.rows == tally.predicted + tally.rejected
        and {name.partition(".")[0] for name in record.files} == parts
        and record.preprocessing.keys() <= {span.source for span in shard.spans}
    )
    if not matches:
        raise DocumentError("the record of another shard")
    return ShardResult(
        index=record.index,
        rows=record.rows,
        tally=tally,
        preprocessing={source: Counter(counts) for source, counts in record.preprocessing.items()},
        files=record.files,
        batch_splits=record.batch_splits,
        seconds=record.seconds,
    )


class RunTally:
    """The merged results of the shards of a run. Its size does not grow with the number of rows.

    tally: counts over all rows so far.
    preprocessing: number of images by what was done to them, for each source.
    batch_splits: how many times a batch was split in two.
    rows: number of rows so far.
    seconds: by `timing.Stage`.
    """

    def __init__(self) -> None:
        self.tally = tallies.EMPTY_TALLY
        self.preprocessing: dict[int, Counter[str]] = {}
        self.batch_splits = 0
        self.rows = 0
        self.seconds: Mapping[str, float] = {}
        self._files: dict[int, Mapping[str, FileRecord]] = {}

    def __contains__(self, shard: Shard) -> bool:
        return shard.index in self._files

    def __len__(self) -> int:
        """Number of shards."""
        return len(self._files)

    @property
    def files(self) -> dict[str, FileRecord]:
        """Size and SHA-256 of each part by name, in the order of the shards."""
        return dict(chain.from_iterable(self._files[index].items() for index in sorted(self._files)))

    def add(self, shard: Shard, result: ShardResult) -> None:
        """Merges the result of a shard. A shard may arrive twice, from two workers, if both wrote the same bytes."""
        rows = result.tally.predicted + result.tally.rejected
        if not shard.rows == result.rows == rows:
            raise AssertionError(f"shard {shard.index} has {shard.rows} rows, but {rows} came out")
        if shard in self:
            if self._files[shard.index] != result.files:
                raise AssertionError(f"shard {shard.index} was scored twice, with different results")
            return
        self.tally = tallies.merge([self.tally, result.tally])
        for source, counts in result.preprocessing.items():
            self.preprocessing.setdefault(source, Counter()).update(counts)
        self.batch_splits += result.batch_splits
        self.rows += result.rows
        self.seconds = add_laps([self.seconds, result.seconds])
        self._files[shard.index] = result.files
