"""What a user of Keras writes: scores a folder of PNGs with `image_dataset_from_directory` and `predict`, to CSV.

    python benchmarks/peers/keras_script.py FOLDER MODEL OUTPUT

Follows Keras's own guides: batches, prefetching, the model's scale as a layer of the data set.
"""

import sys

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

folder, model_path, output = sys.argv[1:]
images = keras.utils.image_dataset_from_directory(
    folder, labels=None, color_mode="grayscale", image_size=(28, 28), batch_size=4096, shuffle=False
)
paths = images.file_paths
images = images.map(lambda pixels: tf.reshape(pixels / 255.0, (-1, 784)), num_parallel_calls=tf.data.AUTOTUNE)
network = keras.Sequential([keras.layers.TFSMLayer(model_path, call_endpoint="serve")])
probabilities = network.predict(images.prefetch(tf.data.AUTOTUNE), verbose=0)
pd.DataFrame(
    {"id": paths, "prediction": np.argmax(probabilities, axis=1), "confidence": probabilities.max(axis=1)}
).to_csv(output, index=False)
