"""Shards one after the other, in this process; while one is written, the next is read and scored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing

from mnist_batch.run.reading import ReadAhead
from mnist_batch.run.scoring import Heartbeat, Predictor, ScoringJob, ShardResult, answered, score_shard
from mnist_batch.shards import Shard


def score(
    job: ScoringJob, shards: Sequence[Shard], predictor: Predictor, heartbeat: Heartbeat
) -> Iterator[ShardResult]:
    """The result of each shard, in order, as its part is written."""
    with (
        closing(job.readers()) as readers,
        closing(ReadAhead(readers.chunks(shards, job.batch_size))) as chunks,
        closing(answered(job, chunks, predictor)) as answers,
    ):
        for shard in shards:
            yield score_shard(job, shard, answers, readers, heartbeat)
