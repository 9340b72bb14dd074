"""What all shards of a run came to: their tallies merged as they come, so that memory does not grow with the rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from mnist_batch.errors import MnistBatchError
from mnist_batch.report.tally import EMPTY_TALLY, merge
from mnist_batch.run.scoring import ShardResult
from mnist_batch.shards import Shard
from mnist_batch.timing import total


class RunTally:
    """tally: of all rows so far; preprocessing: by source, how its images were treated; batch_splits: how often a batch was
    halved; rows: how many there are; seconds: by stage.
    """

    def __init__(self) -> None:
        self.tally = EMPTY_TALLY
        self.preprocessing: dict[int, Counter[str]] = {}
        self.batch_splits = 0
        self.rows = 0
        self.seconds: Mapping[str, float] = {}
        self._files: dict[int, Mapping[str, Any]] = {}

    def __contains__(self, shard: Shard) -> bool:
        return shard.index in self._files

    def __len__(self) -> int:
        """Shards."""
        return len(self._files)

    @property
    def files(self) -> dict[str, Any]:
        """Size and SHA-256 of each part by name, in the order of the shards."""
        return {name: file for _, files in sorted(self._files.items()) for name, file in files.items()}

    def add(self, shard: Shard, result: ShardResult) -> None:
        """Takes the result of a shard. Raises MnistBatchError where not every row of it came out once."""
        out = result.tally.predicted + result.tally.rejected
        if not shard.rows == result.rows == out or shard in self:
            raise MnistBatchError(
                f"shard {shard.index}: every row must come out once, of {shard.rows} rows {out} did: "
                "this is a bug, please report it"
            )
        self.tally = merge([self.tally, result.tally])
        for source, counts in result.preprocessing.items():
            self.preprocessing.setdefault(source, Counter()).update(counts)
        self.batch_splits += result.batch_splits
        self.rows += result.rows
        self.seconds = total([self.seconds, result.seconds])
        self._files[shard.index] = result.files
