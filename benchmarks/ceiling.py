"""How fast the model itself is, over pixels that lie in memory: what no reader, however fast, can beat.

    python benchmarks/ceiling.py --threads 2 --parallel 1 --rows 600000

Prints images a second. Once with two threads within a batch, once with two batches of one thread each, both with
TF_ENABLE_ONEDNN_OPTS=1 and =0: the best of them is the ceiling.
"""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat

import numpy as np
import tensorflow as tf

from mnist_batch.model.bundled import resolve_model
from mnist_batch.model.loading import load_model


def rate(threads: int, parallel: int, rows: int, batch: int) -> float:
    """Images a second of the bundled model's own graph, uint8 [n, 28, 28] in, probabilities out."""
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(parallel)
    model = load_model(resolve_model("seed"), None)
    score = tf.function(model.probabilities, input_signature=[tf.TensorSpec((None, 28, 28), tf.uint8)])
    pixels = tf.constant(np.random.default_rng(0).integers(0, 256, (batch, 28, 28), np.uint8))
    with ThreadPoolExecutor(parallel) as pool:
        list(pool.map(score, repeat(pixels, 2 * parallel)))
        batches = -(-rows // batch)
        started = time.monotonic()
        for scored in pool.map(score, repeat(pixels, batches)):
            scored.numpy()
        return batches * batch / (time.monotonic() - started)


def main() -> None:
    """Prints the rate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2, help="within a batch")
    parser.add_argument("--parallel", type=int, default=1, help="batches at once")
    parser.add_argument("--rows", type=int, default=600_000)
    parser.add_argument("--batch", type=int, default=4096)
    options = parser.parse_args()
    print(round(rate(options.threads, options.parallel, options.rows, options.batch)))


if __name__ == "__main__":
    main()
