"""Hashes of texts, by which repeated names are found."""

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from mnist_batch.hashing import hash_texts


@given(st.lists(st.text(max_size=6), max_size=40), st.integers(0, 40))
def test_equal_texts_have_equal_hashes(texts: list[str], first: int) -> None:
    """Wherever they are, and in a slice of another array."""
    array = pa.array(texts, pa.string()).slice(min(first, len(texts)))
    hashes = hash_texts(array).tolist()
    assert len(set(hashes)) == len(set(array.to_pylist()))
    assert hashes == [hash_texts(pa.array([text], pa.string()))[0] for text in array.to_pylist()]


def test_many_similar_texts_have_different_hashes() -> None:
    names = pa.array([f"{folder}/{number:06d}.png" for folder in range(10) for number in range(20_000)])
    assert len(set(hash_texts(names).tolist())) == 200_000
