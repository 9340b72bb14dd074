"""What every engine must do. `tests/run/test_engine_contract.py` checks each implementation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from mnist_batch.run.scoring import ScoringJob
from mnist_batch.run.shard_result import ShardResult
from mnist_batch.shards import Shard
from mnist_batch.timing import RowsCallback, StopCheck


class Engine(Protocol):
    """Has the shards of a job scored by workers. A worker takes shards one by one and passes them to `score_shards`.

    A worker in another process calls `runtime.prepare`, and loads the model by `load_predictor`.
    """

    def run(
        self, job: ScoringJob, shards: Iterable[Shard], progress: RowsCallback, check_stop: StopCheck
    ) -> Iterator[ShardResult]:
        """Yields the result of every shard, in any order. A shard may be scored twice, if a worker was lost.

        progress: called with the rows of these shards that are done. Called in this process only, like `check_stop`.
        check_stop: called at least once for each shard. If it raises, no further shard is begun and the workers stop.
        Raises what `score_shards` raises, and StorageError if workers were lost and could not be replaced. Shards that
        are complete by then have their parts and records.
        """
        ...
