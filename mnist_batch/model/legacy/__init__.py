"""Repairs files of earlier versions of Keras and TensorFlow, in temporary copies, so that today's can open them."""
