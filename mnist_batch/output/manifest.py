"""`manifest.json` of a complete set, and `run.json` of a run that has not finished."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mnist_batch.documents import Count, Json, JsonObject, check_keys, parse_document, read_version
from mnist_batch.output.files import FileRecord
from mnist_batch.output.fingerprint import FingerprintInputs, ListedFile
from mnist_batch.report.document import ModelFacts
from mnist_batch.report.gates import Gate

# 2: `facts` and `halved_batches` got the names that they have now, and `parts` may be null.
MANIFEST_VERSION = 2


@dataclass(frozen=True, slots=True)
class Run:
    """`run.json`: the run that the staging folder belongs to."""

    fingerprint: str
    fingerprint_inputs: FingerprintInputs


@dataclass(frozen=True, slots=True)
class Manifest:
    """`manifest.json`: what a complete set is made of and of what it was made.

    finished: date and time, ISO 8601.
    gates: with the verdicts of the last start.
    resumed_shards: number of shards that an earlier start had finished.
    batch_splits: how many times a batch was split because the model failed on it. If any, last bits may differ.
    files: the input files; null if there are too many, then they are in `files.arrow`.
    parts: size and SHA-256 of each part by name; null if there are too many, then they are in `parts.arrow`.
    """

    manifest_version: int
    model: ModelFacts
    finished: str
    fingerprint: str
    fingerprint_inputs: FingerprintInputs
    gates: Sequence[Gate]
    rows: Count
    resumed_shards: Count
    batch_splits: Count
    files: Sequence[ListedFile] | None
    parts: Mapping[str, FileRecord] | None


def parse_manifest(content: Mapping[str, Json]) -> Manifest:
    """Returns the manifest of a JSON object of any version. Raises DocumentError if a field is not as declared."""
    version = read_version(content, "manifest_version")
    manifest = parse_document(_upgrade(content), Manifest)
    if version == MANIFEST_VERSION:
        check_keys(content, manifest)
    return manifest


def parse_run(content: Mapping[str, Json]) -> Run:
    """Returns the run of a JSON object. Raises DocumentError if a field is not as declared."""
    return parse_document(_upgrade(content), Run)


def _upgrade(content: Mapping[str, Json]) -> JsonObject:
    """Gives the keys of version 1 (releases before 0.3.0) the names that they have now."""
    names = {"facts": "fingerprint_inputs", "halved_batches": "batch_splits"}
    return {"manifest_version": 1} | {names.get(key, key): value for key, value in content.items()}
