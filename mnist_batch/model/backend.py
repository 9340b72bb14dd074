"""TensorFlow and Keras, imported without changing the environment of the importer. Import both from here."""

from mnist_batch.runtime import environment_during_import

# The variable overrides ~/.keras/keras.json. TensorFlow imports Keras.
with environment_during_import(KERAS_BACKEND="tensorflow"):
    import keras
    import tensorflow as tf

__all__ = ["keras", "tf"]
