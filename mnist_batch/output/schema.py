"""The columns of `predictions/` and `rejects/`: the contract with everything that reads the output."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from mnist_batch import columns
from mnist_batch.records import Predictions, Reject

REJECT_SCHEMA = pa.schema({"id": pa.string(), "reason": pa.string(), "detail": pa.string()})


def prediction_table(predictions: Predictions, probabilities: bool) -> pa.Table:
    """The table of `predictions/`: the fixed columns, then p0..p9 if `probabilities`, then the kept input columns."""
    scores = predictions.scores
    digit_score = pa.nulls(len(predictions), pa.float32()) if scores.digit_score is None else scores.digit_score
    table = {
        columns.ID: predictions.ids,
        columns.LABEL: predictions.labels,
        columns.PREDICTION: pa.array(predictions.digits, pa.int32()),
        columns.CONFIDENCE: pa.array(scores.confidence, pa.float32()),
        columns.DIGIT_SCORE: pa.array(digit_score, pa.float32()),
    }
    if probabilities:
        for digit, name in enumerate(columns.PROBABILITIES):
            table[name] = pa.array(scores.probabilities[:, digit], pa.float32())
    if predictions.extra_columns is not None:
        table.update(zip(predictions.extra_columns.column_names, predictions.extra_columns.columns, strict=True))
    return pa.table(table)


def reject_table(rejects: Sequence[Reject]) -> pa.Table:
    """The table of `rejects/`, with the columns of `REJECT_SCHEMA`."""
    values = [[r.id for r in rejects], [str(r.reason) for r in rejects], [r.detail for r in rejects]]
    return pa.table(values, schema=REJECT_SCHEMA)
