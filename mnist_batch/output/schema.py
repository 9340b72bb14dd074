"""The columns of `predictions/` and `rejects/`: the contract with everything that reads the output."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from mnist_batch.records import CLASSES, Predictions, Reject

REJECT_SCHEMA = pa.schema({"id": pa.string(), "reason": pa.string(), "detail": pa.string()})
PROBABILITY_COLUMNS = tuple(f"p{digit}" for digit in range(CLASSES))


def prediction_table(predictions: Predictions, probabilities: bool) -> pa.Table:
    """The table of `predictions/`: the fixed columns, then p0..p9 if `probabilities`, then the kept input columns."""
    columns = {
        "id": predictions.ids,
        "label": predictions.labels,
        "prediction": pa.array(predictions.digits, pa.int32()),
        "confidence": pa.array(predictions.confidence, pa.float32()),
        # How much the image looks like a digit at all. Always null, because no model gives such a score yet.
        "digit_score": pa.nulls(len(predictions), pa.float32()),
    }
    if probabilities:
        for digit, name in enumerate(PROBABILITY_COLUMNS):
            columns[name] = pa.array(predictions.probabilities[:, digit], pa.float32())
    if predictions.extra_columns is not None:
        columns.update(zip(predictions.extra_columns.column_names, predictions.extra_columns.columns, strict=True))
    return pa.table(columns)


def reject_table(rejects: Sequence[Reject]) -> pa.Table:
    """The table of `rejects/`, with the columns of `REJECT_SCHEMA`."""
    columns = [[r.id for r in rejects], [str(r.reason) for r in rejects], [r.detail for r in rejects]]
    return pa.table(columns, schema=REJECT_SCHEMA)
