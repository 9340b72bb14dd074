"""Reports in the form that `run/job.py` makes them, without a run."""

from __future__ import annotations

from collections.abc import Sequence

from mnist_batch.config import Preprocess
from mnist_batch.profile import Profile
from mnist_batch.report.build import Origin, build_report
from mnist_batch.report.document import ModelFacts, PreprocessingCounts, Report, RunFacts, Timings
from mnist_batch.report.gates import Gate
from mnist_batch.report.tally import Tally

GATES = [Gate("max_reject_rate", 0.05, 0.0125, passed=True), Gate("min_accuracy", 0.99, 0.9012, passed=False)]


def report(tally: Tally, profile: Profile | None = None, inputs: Sequence[str] = ("scans",)) -> Report:
    """The report of a tally."""
    origin = Origin(
        skipped={".txt": 2},
        model=ModelFacts(name="seed", sha256="c0ffee", scale="0..1", output="probabilities", carded=True),
        run=RunFacts(
            inputs=inputs, more_inputs=0, finished="2026-11-24T22:00:00+00:00", version="0.1.0", fingerprint="f00"
        ),
        timings=Timings(
            start=2.5, score=71.0, stages={"read": 4.0, "decode": 9.0, "frame": 20.0, "model": 66.0, "write": 1.0}
        ),
        preprocessing=PreprocessingCounts(mode=Preprocess.AUTO, as_is=tally.predicted, inverted=0, framed=0),
        warnings=(),
    )
    return build_report(tally, profile, origin)
