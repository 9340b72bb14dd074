"""The result of a run, for Python callers and the command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mnist_batch.config import PredictConfig
from mnist_batch.output.formats import sink_for
from mnist_batch.report.document import Report
from mnist_batch.report.gates import Gate

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Result:
    """Counts, accuracy and paths of a complete set.

    report: the content of `report.json`, with its keys as attributes.
    gates: the gates with their verdicts.
    already_done: whether the set was complete before this start.
    resumed: number of shards that an earlier, interrupted start had finished.
    scored: number of rows that this start read and scored.
    """

    config: PredictConfig
    report: Report
    gates: Sequence[Gate]
    fingerprint: str
    seconds: float
    already_done: bool
    resumed: int = 0
    scored: int = 0

    @property
    def output(self) -> Path:
        return self.config.output

    @property
    def rows(self) -> int:
        return self.report.rows

    @property
    def predicted(self) -> int:
        return self.report.predicted

    @property
    def rejected(self) -> int:
        return self.report.rejected

    @property
    def labelled(self) -> int:
        return self.report.labelled

    @property
    def accuracy(self) -> float | None:
        """Share of the labelled rows that are predicted correctly; None if no row has a label."""
        return self.report.accuracy

    @property
    def failed_gates(self) -> list[Gate]:
        return [gate for gate in self.gates if not gate.passed]

    @property
    def warnings(self) -> Sequence[str]:
        """What a person should look at, one line each. Empty if an earlier run has reported it."""
        return [] if self.already_done else self.report.warnings

    @property
    def exit_code(self) -> int:
        """0, or 3 if a gate failed: then the set is written, but not `_SUCCESS`."""
        return 3 if self.failed_gates else 0

    @property
    def predictions(self) -> Path:
        """The folder of the prediction parts."""
        return self.output / "predictions"

    @property
    def rejects(self) -> Path | None:
        """The folder of the reject parts; None if no row was rejected."""
        return self.output / "rejects" if self.rejected else None

    def to_pandas(self) -> pd.DataFrame:
        """All predictions in input order, with the columns of docs/usage.md.

        Integers are nullable, because labels may be missing. In a CSV run, the columns named by `keep` are text.
        """
        import pandas as pd
        import pyarrow as pa

        sink = sink_for(self.config.format)
        parts = [sink.read(path) for path in sorted(self.predictions.glob(f"part-*{sink.suffix}"))]
        table = pa.concat_tables(parts, promote_options="permissive")
        return table.to_pandas(types_mapper={pa.int32(): pd.Int32Dtype(), pa.string(): pd.StringDtype()}.get)
