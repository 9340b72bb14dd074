"""The columns of `predictions/` and `rejects/`: the contract with everything that reads our output."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from mnist_batch.records import CLASSES, Predictions, Reject

REJECT_SCHEMA = pa.schema({"id": pa.string(), "reason": pa.string(), "detail": pa.string()})
PROBABILITY_COLUMNS = tuple(f"p{digit}" for digit in range(CLASSES))


def prediction_table(predictions: Predictions, probabilities: bool) -> pa.Table:
    """`predictions/` as a table; with `probabilities`, the columns p0..p9 too; then the columns that were kept."""
    columns = {
        "id": predictions.ids,
        "label": predictions.labels,
        "prediction": pa.array(predictions.digits, pa.int32()),
        "confidence": pa.array(predictions.confidence, pa.float32()),
        # How much it looks like a digit at all; no model says so yet.
        "digit_score": pa.nulls(len(predictions), pa.float32()),
    }
    if probabilities:
        for digit, name in enumerate(PROBABILITY_COLUMNS):
            columns[name] = pa.array(predictions.probabilities[:, digit], pa.float32())
    if predictions.extra_columns is not None:
        columns.update(zip(predictions.extra_columns.column_names, predictions.extra_columns.columns, strict=True))
    return pa.table(columns)


def reject_table(rejects: Sequence[Reject]) -> pa.Table:
    """`rejects/` as a table."""
    columns = [[r.id for r in rejects], [str(r.reason) for r in rejects], [r.detail for r in rejects]]
    return pa.table(columns, schema=REJECT_SCHEMA)
