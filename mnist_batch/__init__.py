"""Batch scoring of digit images: any input form in, predictions and confidences out, each row exactly once."""

from mnist_batch.api import predict

__all__ = ["predict"]
