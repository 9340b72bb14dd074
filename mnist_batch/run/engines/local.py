"""Scores shards one after the other in this process. While one is written, the next is read and scored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing

from mnist_batch.run.reading import ReadAhead
from mnist_batch.run.scoring import Predictor, ScoringJob, ShardResult, score_chunks, score_shard
from mnist_batch.shards import Shard
from mnist_batch.timing import ProgressCallback, StopCheck


def score_shards(
    job: ScoringJob, shards: Sequence[Shard], predictor: Predictor, progress: ProgressCallback, check_stop: StopCheck
) -> Iterator[ShardResult]:
    """Yields the result of each shard, in order, as soon as its part is written.

    progress: called with the rows of these shards that are done, and all their rows.
    """
    total = sum(shard.rows for shard in shards)
    finished = 0

    def report_rows(done: int, _: int) -> None:
        progress(finished + done, total)

    with (
        closing(job.readers()) as readers,
        closing(ReadAhead(readers.chunks(shards, job.batch_size))) as chunks,
        closing(score_chunks(job, chunks, predictor)) as scored_chunks,
    ):
        for shard in shards:
            yield score_shard(job, shard, scored_chunks, readers, report_rows, check_stop)
            finished += shard.rows
