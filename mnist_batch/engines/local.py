"""Shards one after the other, in this process."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing

from mnist_batch.scoring import Heartbeat, Predictor, ScoringJob, ShardResult, score_shard
from mnist_batch.shards import Shard


def score(
    job: ScoringJob, shards: Iterable[Shard], predictor: Predictor, heartbeat: Heartbeat
) -> Iterator[ShardResult]:
    """The result of each shard, in order, as its part is written."""
    with closing(job.readers()) as readers:
        for shard in shards:
            yield score_shard(job, shard, readers, predictor, heartbeat)
