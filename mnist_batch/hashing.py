"""Hashes of many texts at once, to find repeated names without holding a Python object for each."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

_CHUNK_TEXTS = 16_384


def hash_texts(texts: pa.StringArray) -> npt.NDArray[np.uint64]:
    """Returns a 64-bit hash of each text, uint64 [n]; the same for the same text in every process. None may be null.

    A multilinear hash (Carter and Wegman 1979): the sum of each byte plus 1, times a weight that depends on its
    position. A million names of 25 bytes take 0.15 s.
    """
    _, stops, content = texts.buffers()
    stops = np.frombuffer(stops, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    lengths = np.diff(stops)
    letters = np.frombuffer(content or b"", np.uint8)
    weights = np.random.default_rng(0).integers(0, 2**64, lengths.max(initial=0), np.uint64)
    hashes = np.zeros(len(texts), np.uint64)
    for first in range(0, len(texts), _CHUNK_TEXTS):
        chunk = slice(first, first + _CHUNK_TEXTS)
        filled = lengths[chunk] > 0  # `reduceat` cannot sum an empty range
        starts, end = stops[:-1][chunk], stops[1:][chunk][-1]
        weight = weights[np.arange(starts[0], end) - np.repeat(starts, lengths[chunk])]
        products = (letters[starts[0] : end] + np.uint64(1)) * weight
        if len(products):
            hashes[chunk][filled] = np.add.reduceat(products, starts[filled] - starts[0])
    return hashes
