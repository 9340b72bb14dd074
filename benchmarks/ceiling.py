"""How fast the model alone is on pixels in memory. No run can be faster, however fast it reads.

    python benchmarks/ceiling.py --threads 2 --parallel 1 --rows 600000

Prints images per second. The ceiling is the best of four runs: two threads within a batch, or two batches of one thread
each, with TF_ENABLE_ONEDNN_OPTS=1 and =0.
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


def measure_rate(threads: int, parallel: int, rows: int, batch: int) -> float:
    """Images per second of the bundled model's own graph: uint8 [n, 28, 28] in, probabilities out."""
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(parallel)
    model = load_model(resolve_model("seed"), None)
    score = tf.function(model.score, input_signature=[tf.TensorSpec((None, 28, 28), tf.uint8)])
    pixels = tf.constant(np.random.default_rng(0).integers(0, 256, (batch, 28, 28), np.uint8))
    with ThreadPoolExecutor(parallel) as pool:
        list(pool.map(score, repeat(pixels, 2 * parallel)))
        batches = -(-rows // batch)
        started = time.monotonic()
        for scored in pool.map(score, repeat(pixels, batches)):
            scored["probabilities"].numpy()
        return batches * batch / (time.monotonic() - started)


def main() -> None:
    """Prints the rate."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--threads", type=int, default=2, help="threads within a batch")
    parser.add_argument("--parallel", type=int, default=1, help="batches at the same time")
    parser.add_argument("--rows", type=int, default=600_000)
    parser.add_argument("--batch", type=int, default=4096)
    options = parser.parse_args()
    print(round(measure_rate(options.threads, options.parallel, options.rows, options.batch)))


if __name__ == "__main__":
    main()
