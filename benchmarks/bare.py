"""The least that any run must do: import TensorFlow, load the bundled model, score an idx file.

python benchmarks/bare.py IMAGES
"""

import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

from mnist_batch.model.bundled import resolve_model

pixels = np.frombuffer(Path(sys.argv[1]).read_bytes()[16:], np.uint8).reshape(-1, 784)
model = tf.saved_model.load(resolve_model("seed"))
for first in range(0, len(pixels), 4096):
    model.serve(tf.cast(pixels[first : first + 4096], tf.float32) / 255).numpy()
