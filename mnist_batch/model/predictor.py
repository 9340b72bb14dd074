"""Scores batches with a model: pads them and maps the model over them with tf.data, with results in order.

The model is called only in `Dataset.map`: the same `tf.function` called directly returns other last bits, and an
interrupted run must end with the same bytes as an uninterrupted one (docs/architecture.md, "Determinism").
This module knows nothing of files, labels or shards.
"""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property

import numpy as np

from mnist_batch.model.backend import tf
from mnist_batch.model.loading import LoadedModel
from mnist_batch.model.selftest import DIGIT_SCORE
from mnist_batch.records import IMAGE_SIDE, Pixels, Scores, first_line, unscored

# The last batch of a shard is padded to the next of these sizes (or to the batch size), so that the matrix library sees
# few shapes. None of them is 1, because the library computes a single row in another order.
_PADDED_SIZES = (16, 64, 256, 1024, 4096, 16_384)
# The results of so many images are computed ahead. Their pixels, which are held meanwhile, take 26 MB.
_IMAGES_AHEAD = 32_768
# TensorFlow's names for the failing node in an error message. They are numbered, so they differ between runs.
_NODE_NAMES = re.compile(r"Error in user-defined function passed to .*? with iterator: \S+: |\{\{.*?\}\}")


class TensorFlowPredictor:
    """Scores batches with one model. Holds the model and its traced graph; create one per process.

    batch_splits: how often a batch was halved because the model failed on it.
    failures: why the model failed on a row alone, by row. Rows are counted over all batches of the last call of
        `score`.
    """

    def __init__(self, model: LoadedModel, batch_size: int) -> None:
        self._padded_sizes = (*(size for size in _PADDED_SIZES if size < batch_size), batch_size)
        self.model = model
        self._in_flight: deque[Pixels] = deque()
        self._batches: Iterator[Pixels] = iter(())
        self._error: Exception | None = None
        self.batch_splits = 0
        self.failures: dict[int, str] = {}
        # Lets the model go on while a part is written.
        self._batches_ahead = min(max(_IMAGES_AHEAD // batch_size, 2), 8)
        # Built once, because tracing the model takes longer than scoring a small shard.
        self._dataset = self._build_dataset(self._pad_batches)
        self._halves: Sequence[Pixels] = ()

    def score(self, batches: Iterable[Pixels]) -> Iterator[Scores]:
        """Yields the scores of each batch: uint8 [n, 28, 28] with 1 <= n <= the batch size.

        A batch on which the model fails is halved, down to single rows. A row on which it fails alone is NaN.
        Raises whatever `batches` raises.
        """
        self._batches, self._in_flight, self._error = iter(batches), deque(), None
        self.failures = {}
        row = 0
        for outcome in _iterate_outcomes(self._dataset):
            pixels = self._in_flight.popleft()
            if isinstance(outcome, Exception):
                yield self._score_in_halves(pixels, row, outcome)
            else:
                yield outcome.take(slice(len(pixels)))
            row += len(pixels)
        if self._error is not None:
            raise self._error

    def _build_dataset(self, batches: Callable[[], Iterator[Pixels]]) -> tf.data.Dataset:
        signature = tf.TensorSpec((None, IMAGE_SIDE, IMAGE_SIDE), tf.uint8)
        dataset = tf.data.Dataset.from_generator(batches, output_signature=signature)
        # AutoGraph would write source files to the temporary folder, and a killed run would leave them there.
        score = tf.autograph.experimental.do_not_convert(self.model.score)
        scored = dataset.map(score, num_parallel_calls=os.cpu_count() or 1, deterministic=True)
        # One core per batch: 281,000 images/s on two cores, against 234,000 with both cores on each batch
        # (docs/performance.md).
        options = tf.data.Options()
        options.threading.max_intra_op_parallelism = 1
        options.autotune.enabled = False
        return scored.prefetch(self._batches_ahead).with_options(options)

    @cached_property
    def _halves_dataset(self) -> tf.data.Dataset:
        """Scores `_halves`, padded only to the smallest size, because there may be no memory for more."""
        return self._build_dataset(lambda: (_pad(half, max(len(half), _PADDED_SIZES[0])) for half in self._halves))

    def _pad_batches(self) -> Iterator[Pixels]:
        """Yields the padded batches. Runs in a TensorFlow thread, where an exception would lose its cause."""
        # A pass that was abandoned may still be running here, so it must keep its own batches.
        batches, in_flight = self._batches, self._in_flight
        try:
            for pixels in batches:
                in_flight.append(pixels)
                yield _pad(pixels, next(size for size in self._padded_sizes if size >= len(pixels)))
        except Exception as error:  # `score` raises it
            self._error = error

    def _score_in_halves(self, pixels: Pixels, row: int, error: Exception) -> Scores:
        """Returns the scores of a batch that failed as a whole, NaN for the rows that fail alone.

        row: the number of the batch's first row. error: why the batch failed.
        """
        scores = unscored(len(pixels), DIGIT_SCORE in self._dataset.element_spec)
        failed = [(0, len(pixels), error)]
        while failed:
            for start, stop, cause in failed:
                if stop - start == 1:
                    self.failures[row + start] = _clean_message(cause)
            splits = [(start, (start + stop) // 2, stop) for start, stop, _ in failed if stop - start > 1]
            self.batch_splits += len(splits)
            bounds = [half for start, middle, stop in splits for half in ((start, middle), (middle, stop))]
            self._halves = [pixels[start:stop] for start, stop in bounds]
            failed = []
            # One pass for all halves of a round, because starting a pass takes longer than scoring a few rows.
            for (start, stop), outcome in zip(bounds, _iterate_outcomes(self._halves_dataset), strict=True):
                if isinstance(outcome, Exception):
                    failed.append((start, stop, outcome))
                else:
                    scores.put(start, outcome.take(slice(stop - start)))
        return scores


def _iterate_outcomes(dataset: tf.data.Dataset) -> Iterator[Scores | Exception]:
    """Yields the scores of each batch, in order, or the error if the model failed on it."""
    outcomes = dataset.as_numpy_iterator()
    while True:
        try:
            yield Scores(**next(outcomes))
        except StopIteration:
            return
        except tf.errors.OpError as error:  # the next call goes on with the next batch
            yield error


def _clean_message(error: Exception) -> str:
    return _NODE_NAMES.sub("", first_line(error)).strip() or type(error).__name__


def _pad(pixels: Pixels, size: int) -> Pixels:
    return np.pad(pixels, ((0, size - len(pixels)), (0, 0), (0, 0))) if size > len(pixels) else pixels
