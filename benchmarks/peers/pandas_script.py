"""What a user of pandas writes: scores a CSV file of a label and 784 pixels with `read_csv` and `predict`, to CSV.

    python benchmarks/peers/pandas_script.py FILE MODEL OUTPUT

A `.npy` file is read with `numpy.load`.
"""

import sys

import keras
import numpy as np
import pandas as pd

file, model_path, output = sys.argv[1:]
if file.endswith(".npy"):
    pixels = np.load(file).reshape(-1, 784)
else:
    pixels = pd.read_csv(file).drop(columns="label").to_numpy(np.uint8)
network = keras.Sequential([keras.layers.TFSMLayer(model_path, call_endpoint="serve")])
probabilities = network.predict(pixels.astype(np.float32) / 255, batch_size=4096, verbose=0)
pd.DataFrame({"prediction": np.argmax(probabilities, axis=1), "confidence": probabilities.max(axis=1)}).to_csv(
    output, index_label="id"
)
