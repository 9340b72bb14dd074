"""Scores a folder of PNGs with Ray Data: `read_images`, `map_batches` (its actor holds the model), `write_parquet`.

    python benchmarks/peers/ray_data.py FOLDER MODEL OUTPUT

Follows Ray's guide to offline batch inference. Needs `ray[data]`, which is not a dependency of this project.
"""

import sys

import numpy as np
import ray

folder, model_path, output = sys.argv[1:]


class Predictor:
    def __init__(self) -> None:
        import keras

        self.model = keras.layers.TFSMLayer(model_path, call_endpoint="serve")

    def __call__(self, batch: dict) -> dict:
        pixels = batch["image"].reshape(len(batch["image"]), 784).astype(np.float32) / 255
        probabilities = self.model(pixels).numpy()
        return {
            "path": batch["path"],
            "prediction": probabilities.argmax(axis=1),
            "confidence": probabilities.max(axis=1),
        }


ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
images = ray.data.read_images(folder, mode="L", include_paths=True)
images.map_batches(Predictor, batch_size=4096, concurrency=1).write_parquet(output)
