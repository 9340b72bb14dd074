"""Memory and time of resuming and committing a run of very many shards, with records of real size.

    python benchmarks/many_shards.py [--shards 100000] [--folder DIR]

Writes the staging folder of a run whose shards are all done: a small part file and a full record for each, with 80
thumbnails. Then a process of its own reads all records, as a start that resumes does, and commits the set. Prints its
seconds and its peak memory, and the same for a thousand shards.
"""

from __future__ import annotations

import argparse
import hashlib
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from mnist_batch.config import PredictConfig, Preprocess
from mnist_batch.output.environment import read_environment
from mnist_batch.output.files import FileRecord
from mnist_batch.output.fingerprint import collect_fingerprint_inputs, compute_fingerprint
from mnist_batch.output.manifest import MANIFEST_VERSION, Manifest, Run
from mnist_batch.output.store import OutputStore
from mnist_batch.records import ImageBatch, Scores, string_array
from mnist_batch.report.build import Origin, build_report
from mnist_batch.report.document import ModelFacts, PreprocessingCounts, RunFacts, Timings
from mnist_batch.report.gates import judge_gates
from mnist_batch.report.tally import tally_batch
from mnist_batch.run.reports import render_page
from mnist_batch.run.shard_result import RunTally, ShardResult, decode_result, encode_result
from mnist_batch.shards import Shard, Span

ROWS = 4096
PART = b"PAR1" * 64


def write_staging(output: Path, shards: int) -> None:
    """Writes what a run of this many shards has staged when all of them are done."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 10, ROWS)
    logits = generator.normal(size=(ROWS, 10)) * 2
    logits[np.arange(ROWS), labels] += 5
    probabilities = np.exp(logits)
    probabilities = (probabilities / probabilities.sum(axis=1, keepdims=True)).astype(np.float32)
    # Smooth blobs compress about as well as digits.
    lines = np.minimum(np.abs(np.arange(28) - generator.uniform(8, 20, (ROWS, 1))), 14)
    pixels = np.maximum(0, 255 - 40 * (lines[:, :, None] + lines[:, None, :])).astype(np.uint8)
    batch = ImageBatch(
        string_array(f"scans.zip!{row:07d}.png" for row in range(ROWS)),
        pixels,
        pa.array(labels.astype(np.int32)),
        np.arange(ROWS),
    )
    tally = tally_batch(batch, 0, Scores(probabilities, probabilities.max(axis=1)))
    store = OutputStore(output)
    output.mkdir(parents=True)
    files = pa.table({"path": [b"scans.zip"], "size": [1], "mtime_ns": [1]})
    config = PredictConfig(("scans.zip",), output)
    inputs = collect_fingerprint_inputs(config, files, {}, {}, "model", None, read_environment())
    store.start_run(Run(compute_fingerprint(inputs), inputs), files)
    record = FileRecord(len(PART), hashlib.sha256(PART).hexdigest())
    first = ShardResult(0, ROWS, tally, {}, {}, 0, {"model": 0.1})
    for index in range(shards):
        name = f"predictions/part-{index:05d}.parquet"
        (store.staging / name).write_bytes(PART)
        result = replace(first, index=index, files={name: record})
        (store.staging / "shards" / f"{index:05d}.json.gz").write_bytes(encode_result(result))
    size = (store.staging / "shards" / "00000.json.gz").stat().st_size
    print(f"{shards:,} shards staged, a record has {size:,} bytes", flush=True)


def commit(output: Path, shards: int) -> None:
    """Reads all records and commits the set. Prints seconds and peak memory."""
    started = time.perf_counter()
    store, tally = OutputStore(output), RunTally()
    run = store.interrupted_run()
    assert run is not None
    for index in range(shards):
        shard = Shard(index, index * ROWS, (Span(0, index * ROWS, (index + 1) * ROWS),))
        record = store.read_shard_record(index)
        assert record is not None
        result = decode_result(record, shard)
        assert store.has_staged(result.files)
        tally.add(shard, result)
    read = time.perf_counter() - started
    origin = Origin(
        skipped={},
        model=ModelFacts("seed", "model", "0..1", "probabilities", carded=False),
        run=RunFacts(["scans.zip"], 0, "2026-11-26T00:00:00+00:00", "0", run.fingerprint),
        timings=Timings(0, read),
        preprocessing=PreprocessingCounts(Preprocess.AUTO, tally.rows, 0, 0),
        warnings=(),
    )
    report = build_report(tally.tally, None, origin)
    gates = judge_gates(report, 0.05, None)
    manifest = Manifest(
        manifest_version=MANIFEST_VERSION,
        model=report.model,
        finished=report.run.finished,
        fingerprint=run.fingerprint,
        fingerprint_inputs=run.fingerprint_inputs,
        gates=gates,
        rows=report.rows,
        resumed_shards=shards,
        batch_splits=0,
        files=[("scans.zip", 1, 1)],
        parts=tally.files,
    )
    store.stage_documents(report, render_page(report, gates), manifest)
    store.commit(passed=True, listing=False)
    complete = store.manifest()
    assert complete is not None
    assert store.find_damage(complete) is None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    total = time.perf_counter() - started
    print(
        f"{shards:>9,} shards, {report.rows:,} rows: records read in {read:.1f} s, committed in {total - read:.1f} s, "
        f"peak memory {peak:.0f} MB",
        flush=True,
    )


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, default=None, help="where to write, by default a temporary folder")
    parser.add_argument("--commit", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.commit is not None:
        commit(options.commit, options.shards)
        return
    folder = options.folder or Path(tempfile.mkdtemp())
    for shards in (1000, options.shards):
        output = folder / f"{shards}-shards"
        write_staging(output, shards)
        command = [sys.executable, __file__, "--shards", str(shards), "--commit", str(output)]
        subprocess.run(command, check=True)
        shutil.rmtree(output)


if __name__ == "__main__":
    main()
