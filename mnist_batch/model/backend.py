"""TensorFlow and Keras, imported without changing the environment of the importer. Import both from here."""

from mnist_batch.runtime import environment_during_import, is_prepared

# The variable overrides ~/.keras/keras.json. TensorFlow imports Keras.
with environment_during_import(KERAS_BACKEND="tensorflow"):
    import keras
    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2

# In our own processes, ~/.keras/keras.json does not change how models are loaded.
if is_prepared():
    keras.config.set_floatx("float32")
    keras.config.set_epsilon(1e-07)
    keras.config.set_image_data_format("channels_last")

__all__ = ["keras", "saved_model_pb2", "tf"]
