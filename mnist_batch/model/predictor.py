"""The one way pixels reach a model: padded batches through tf.data, several in flight, results in order.

The model is called only inside `Dataset.map`: the same `tf.function` called directly gives other last bits, and a run
that was interrupted must end with the very bytes of one that was not (docs/architecture.md, "Determinism").
Knows nothing of files, labels or shards.
"""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property

import numpy as np
import tensorflow as tf

from mnist_batch.model.loading import LoadedModel
from mnist_batch.records import CLASSES, IMAGE_SIDE, Floats, Pixels, first_line

# The last batch of a shard is padded up to one of these (or to the batch size), so that the matrix library meets few
# shapes, and never one of a single row, for which it computes in another order.
_LADDER = (16, 64, 256, 1024, 4096, 16_384)
# 26 MB of them.
_IMAGES_AHEAD = 32_768
# Where in its graph something failed, in an error of TensorFlow.
_TENSORFLOWS_OWN = re.compile(r"Error in user-defined function passed to .*? with iterator: \S+: |\{\{.*?\}\}")


class TensorFlowPredictor:
    """Scores batches with one model. Holds the model and its traced graph; made once a process.

    batch_splits: how often a batch was halved because the model failed on it; failures: by row, counted over the batches of
    the last call of `probabilities`, what the model said when it failed on that row alone.
    """

    def __init__(self, model: LoadedModel, batch_size: int) -> None:
        self._sizes = (*(size for size in _LADDER if size < batch_size), batch_size)
        self._model = model
        self._in_flight: deque[Pixels] = deque()
        self._batches: Iterator[Pixels] = iter(())
        self._error: Exception | None = None
        self.batch_splits = 0
        self.failures: dict[int, str] = {}
        # So that the model need not stop while a part is written.
        self._ahead = min(max(_IMAGES_AHEAD // batch_size, 2), 8)
        # Built once: tracing the model takes longer than scoring a small shard.
        self._dataset = self._build_dataset(self._pad_batches)
        self._pieces: Sequence[Pixels] = ()

    def probabilities(self, batches: Iterable[Pixels]) -> Iterator[Floats]:
        """For each batch, uint8 [n, 28, 28] with 1 <= n <= the batch size: float32 [n, 10], rows sum to 1.

        A batch on which the model fails is halved, down to single rows; a row on which it fails comes back as NaN.
        What `batches` raises is raised here, as it was.
        """
        self._batches, self._in_flight, self._error = iter(batches), deque(), None
        self.failures = {}
        row = 0
        for scored in _iterate_outcomes(self._dataset):
            pixels = self._in_flight.popleft()
            yield self._score_in_halves(pixels, row, scored) if isinstance(scored, Exception) else scored[: len(pixels)]
            row += len(pixels)
        if self._error is not None:
            raise self._error

    def _build_dataset(self, batches: Callable[[], Iterator[Pixels]]) -> tf.data.Dataset:
        signature = tf.TensorSpec((None, IMAGE_SIDE, IMAGE_SIDE), tf.uint8)
        dataset = tf.data.Dataset.from_generator(batches, output_signature=signature)
        # Not converted: for that TensorFlow writes source files to the folder for temporary ones, and leaves them there
        # when the run is killed.
        probabilities = tf.autograph.experimental.do_not_convert(self._model.probabilities)
        scored = dataset.map(probabilities, num_parallel_calls=os.cpu_count() or 1, deterministic=True)
        # A core a batch: 281,000 images/s on two cores, and 234,000 where both work on each (docs/performance.md).
        options = tf.data.Options()
        options.threading.max_intra_op_parallelism = 1
        options.autotune.enabled = False
        return scored.prefetch(self._ahead).with_options(options)

    @cached_property
    def _small_dataset(self) -> tf.data.Dataset:
        """Scores `_pieces`, padded no more than against a single row: there may not be memory for more."""
        return self._build_dataset(lambda: (_pad(piece, max(len(piece), _LADDER[0])) for piece in self._pieces))

    def _pad_batches(self) -> Iterator[Pixels]:
        """Runs in a thread of TensorFlow's, which would turn an exception into an error without its cause."""
        # A pass that was given up may still be running here: it keeps to its own batches.
        batches, in_flight = self._batches, self._in_flight
        try:
            for pixels in batches:
                in_flight.append(pixels)
                yield _pad(pixels, next(size for size in self._sizes if size >= len(pixels)))
        except Exception as error:  # kept for the consumer
            self._error = error

    def _score_in_halves(self, pixels: Pixels, row: int, error: Exception) -> Floats:
        """The probabilities of a batch from `row` on that failed as a whole, NaN for the rows that fail alone."""
        probabilities = np.full((len(pixels), CLASSES), np.nan, np.float32)
        failed = [(0, len(pixels), error)]
        while failed:
            for start, stop, cause in failed:
                if stop - start == 1:
                    self.failures[row + start] = _clean_message(cause)
            bounds = [(start, (start + stop) // 2, stop) for start, stop, _ in failed if stop - start > 1]
            self.batch_splits += len(bounds)
            halves = [half for start, middle, stop in bounds for half in ((start, middle), (middle, stop))]
            self._pieces = [pixels[start:stop] for start, stop in halves]
            failed = []
            # All halves of one size in one pass: starting a pass takes longer than scoring a few rows.
            for (start, stop), scored in zip(halves, _iterate_outcomes(self._small_dataset), strict=True):
                if isinstance(scored, Exception):
                    failed.append((start, stop, scored))
                else:
                    probabilities[start:stop] = scored[: stop - start]
        return probabilities


def _iterate_outcomes(dataset: tf.data.Dataset) -> Iterator[Floats | Exception]:
    """What comes of each batch, in order, or what the model said when it failed; the pass goes on after that."""
    outcomes = dataset.as_numpy_iterator()
    while True:
        try:
            yield next(outcomes)
        except StopIteration:
            return
        except tf.errors.OpError as error:
            yield error


def _clean_message(error: Exception) -> str:
    """What the model said, without the names of TensorFlow's own nodes, which are numbered as they come."""
    return _TENSORFLOWS_OWN.sub("", first_line(error)).strip() or type(error).__name__


def _pad(pixels: Pixels, size: int) -> Pixels:
    return np.pad(pixels, ((0, size - len(pixels)), (0, 0), (0, 0))) if size > len(pixels) else pixels
