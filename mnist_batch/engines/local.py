"""Shards one after the other, in this process."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mnist_batch.scoring import Heartbeat, Predictor, Readers, ScoringJob, ShardResult, score_shard
from mnist_batch.shards import Shard


def score(
    job: ScoringJob, shards: Iterable[Shard], predictor: Predictor, heartbeat: Heartbeat
) -> Iterator[ShardResult]:
    """The result of each shard, in order, as its part is written."""
    readers = Readers(job)
    try:
        for shard in shards:
            yield score_shard(job, shard, readers, predictor, heartbeat)
    finally:
        readers.close()
