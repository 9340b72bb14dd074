"""The plan of a run, made without TensorFlow: which rows it scores, in which shards, and its fingerprint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from mnist_batch.config import PredictConfig
from mnist_batch.model.bundled import resolve_model
from mnist_batch.model.card import card_path, find_card, invalid_card, model_digest
from mnist_batch.names import printable
from mnist_batch.output.environment import Environment, read_environment
from mnist_batch.output.fingerprint import (
    FingerprintInputs,
    collect_fingerprint_inputs,
    compute_fingerprint,
)
from mnist_batch.output.formats import check_extra_columns
from mnist_batch.profile import Profile
from mnist_batch.report.drift import check_profile
from mnist_batch.run.scoring import read_card_facts
from mnist_batch.runtime import release_freed_memory
from mnist_batch.shards import Shard, cut_shards
from mnist_batch.sources.discover import Inputs, list_label_paths, open_inputs
from mnist_batch.sources.label_file import LabelFile, open_label_file
from mnist_batch.sources.protocol import Stamp, display_name


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything a run needs to know before it scores.

    labels: the label file of `--labels`, None without one.
    fingerprint_inputs: everything the output depends on; `fingerprint` is the digest of it.
    environment: of this process, a part of the fingerprint's inputs.
    profile: the profile of the training data in the model's card, None without one.
    """

    inputs: Inputs
    shards: Sequence[Shard]
    labels: LabelFile | None
    model_path: Path
    fingerprint_inputs: FingerprintInputs
    fingerprint: str
    environment: Environment
    profile: Profile | None


def make_plan(config: PredictConfig) -> Plan:
    """Opens the inputs and plans the shards.

    Raises MnistBatchError for every invalid input, label file or model that can be rejected without TensorFlow.
    """
    model_path = resolve_model(config.model)
    inputs = open_inputs(config.inputs, config.reading)
    check_extra_columns(config.format, inputs.extra_columns)
    labels, label_files = None, _list_label_files(inputs)
    if isinstance(path := config.reading.labels, Path):
        labels, stamp = open_label_file(path, inputs.rows, inputs.numbered, inputs.list_names)
        label_files = {printable(path.name): stamp}
    digest = model_digest(model_path)
    card = find_card(model_path, digest)
    profile = None if card is None else card.profile
    try:
        check_profile(profile)
    except ValueError as error:
        raise invalid_card(card_path(model_path), str(error)) from error
    environment = read_environment()
    fingerprint_inputs = collect_fingerprint_inputs(
        config,
        inputs.files,
        inputs.arrays,
        label_files=label_files,
        model_sha256=digest,
        card=read_card_facts(card),
        environment=environment,
    )
    shards = list(cut_shards(inputs.spans, config.rows_per_part))
    # Sorting and comparing a million names leaves 100 MB of freed memory in this process. Release it before TensorFlow.
    pa.default_memory_pool().release_unused()
    release_freed_memory()
    return Plan(
        inputs=inputs,
        shards=shards,
        labels=labels,
        model_path=model_path,
        fingerprint_inputs=fingerprint_inputs,
        fingerprint=compute_fingerprint(fingerprint_inputs),
        environment=environment,
        profile=profile,
    )


def _list_label_files(inputs: Inputs) -> dict[str, Stamp]:
    """The label files beside the inputs, by name, except those that the listing of an input folder contains."""
    return {
        display_name(path, inputs.root): stamps[path]
        for source, stamps in zip(inputs.sources, inputs.stamps, strict=True)
        for path in list_label_paths(source)
        if not any(path.is_relative_to(folder) for folder in inputs.folders)
    }
