"""Scores shards one after the other in this process. While one is written, the next is read and scored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from mnist_batch.run.scoring import Predictor, ScoringJob, score_shards
from mnist_batch.run.shard_result import ShardResult
from mnist_batch.shards import Shard
from mnist_batch.timing import RowsCallback, StopCheck


@dataclass(frozen=True, slots=True)
class LocalEngine:
    """This process is the only worker. predictor: the job's model."""

    predictor: Predictor

    def run(
        self, job: ScoringJob, shards: Iterable[Shard], progress: RowsCallback, check_stop: StopCheck
    ) -> Iterator[ShardResult]:
        return score_shards(job, shards, self.predictor, progress, check_stop)
