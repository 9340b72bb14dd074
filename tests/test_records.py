"""The records that flow through a run."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from mnist_batch.records import (
    ImageBatch,
    Reject,
    RejectReason,
    Scores,
    concat_batches,
    concat_scores,
    string_array,
    unscored,
)


def scores(rows: int, digit_score: bool = True) -> Scores:
    probabilities = np.full((rows, 10), 0.05, np.float32)
    probabilities[np.arange(rows), np.arange(rows) % 10] = 0.55
    return Scores(
        probabilities, probabilities.max(axis=1), np.linspace(0, 1, rows, dtype=np.float32) if digit_score else None
    )


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_row_needs_every_number(value: float) -> None:
    found = scores(5)
    found.probabilities[1, 7] = value
    found.confidence[2] = value
    assert found.digit_score is not None
    found.digit_score[4] = value
    assert found.finite().tolist() == [True, False, False, True, False]
    without = scores(3, digit_score=False)
    without.probabilities[0, :9] = value
    assert without.finite().tolist() == [False, True, True]


@pytest.mark.parametrize("digit_score", [True, False])
def test_scores_of_some_rows(digit_score: bool) -> None:
    whole = scores(6, digit_score)
    for rows in (slice(2, 5), np.array([False, False, True, True, True, False])):
        some = whole.take(rows)
        assert len(some) == 3
        assert some.probabilities.tolist() == whole.probabilities[2:5].tolist()
        assert some.confidence.tolist() == whole.confidence[2:5].tolist()
        assert (some.digit_score is None) != digit_score
        if some.digit_score is not None:
            assert some.digit_score.tolist() == pytest.approx([0.4, 0.6, 0.8])


@pytest.mark.parametrize("digit_score", [True, False])
def test_scores_are_put_at_their_rows(digit_score: bool) -> None:
    whole, empty = scores(4, digit_score), unscored(7, digit_score)
    assert not empty.finite().any()
    empty.put(2, whole)
    assert empty.finite().tolist() == [False, False, True, True, True, True, False]
    for name in ("probabilities", "confidence", "digit_score"):
        if getattr(whole, name) is not None:
            assert getattr(empty, name)[2:6].tolist() == getattr(whole, name).tolist()


def test_scores_are_joined_in_order() -> None:
    joined = concat_scores([scores(2), scores(3)])
    assert joined.probabilities.argmax(axis=1).tolist() == [0, 1, 0, 1, 2]
    assert joined.digit_score is not None
    assert joined.digit_score.tolist() == [0, 1, 0, 0.5, 1]
    assert concat_scores([scores(2, digit_score=False)]).digit_score is None


def batch(first: int, good: list[int], rejected: list[int], animations: int = 0) -> ImageBatch:
    """Rows `first`, `first + 1`, ...; `good` and `rejected` are their positions in the batch."""
    return ImageBatch(
        ids=string_array(str(first + position) for position in good),
        pixels=np.stack([np.full((28, 28), first + position, np.uint8) for position in good]),
        labels=pa.array([(first + position) % 10 for position in good], pa.int32()),
        positions=np.array(good),
        rejects=[Reject(str(first + position), RejectReason.EMPTY, "") for position in rejected],
        extra_columns=pa.table({"page": [first + position for position in good]}),
        animations=animations,
    )


def test_batches_are_joined_in_order() -> None:
    joined = concat_batches(
        [batch(0, [0, 2], [1], animations=1), batch(3, [1], [0]), batch(5, [0, 1], [], animations=2)]
    )
    assert joined.ids.to_pylist() == ["0", "2", "4", "5", "6"]
    assert joined.labels.to_pylist() == [0, 2, 4, 5, 6]
    assert joined.pixels[:, 0, 0].tolist() == [0, 2, 4, 5, 6]
    # Counted from the first row of the first batch, rejects included.
    assert joined.positions.tolist() == [0, 2, 4, 5, 6]
    assert [reject.id for reject in joined.rejects] == ["1", "3"]
    assert joined.extra_columns is not None
    assert joined.extra_columns["page"].to_pylist() == [0, 2, 4, 5, 6]
    assert (joined.rows, len(joined), joined.animations) == (7, 5, 3)
