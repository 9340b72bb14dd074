"""The fingerprint of a run, and the differences between two runs.

The fingerprint covers everything that can change a byte of `predictions/` or `rejects/`: the input files (name, size,
modification time), the model's bytes, the options, and the builds and CPU features that float arithmetic depends on.
This module does not import TensorFlow, so a run that is already complete is recognized at once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from mnist_batch.config import PredictConfig
from mnist_batch.documents import Count, Json, to_builtins
from mnist_batch.names import to_text
from mnist_batch.output.environment import Environment
from mnist_batch.records import text_array
from mnist_batch.sources.protocol import Stamp

# The options that are not part of the fingerprint. Inputs and their order, label files and the model are part of it by
# their content; the others change no byte of `predictions/` or `rejects/`.
_LEFT_OUT = frozenset((
    "inputs", "listed", "labels", "model", "output", "overwrite", "max_reject_rate", "min_accuracy", "strict",
    "baseline",
))  # fmt: skip
# A manifest lists up to this many input files, which takes about 100 KB.
_MAX_INLINE_FILES = 1000
# Hash the listing in chunks of this many rows, because each row is briefly a Python object.
_CHUNK_ROWS = 65_536
# At most this many differences are named in a message.
MAX_LISTED = 5
# Name, size in bytes, and modification time in ns.
ListedFile = tuple[str, Count, int]
OptionValue = str | int | float | bool | list[str] | None

_LISTING_SCHEMA = pa.schema({"path": pa.string(), "size": pa.int64(), "mtime_ns": pa.int64()})


@dataclass(frozen=True, slots=True)
class ListingDigest:
    """The input files. sha256: of their names, sizes and modification times."""

    files: Count
    bytes: Count
    sha256: str


@dataclass(frozen=True, slots=True)
class CardFacts:
    """What of a model card changes the output. Fields as in `model.card.ModelCard`."""

    scale: str
    output: str
    temperature: float


@dataclass(frozen=True, slots=True)
class FingerprintInputs:
    """Everything that the output depends on. `compute_fingerprint` is its digest.

    arrays: the selected arrays of each npz file, by path.
    label_files: the label files that are not among the inputs.
    card: None if no card belongs to the model.
    options: as in `_collect_options`.
    versions, onednn, cpu, settings: as in `environment.Environment`.
    """

    inputs: ListingDigest
    arrays: Mapping[str, Sequence[str]]
    labels: str
    label_files: Sequence[ListedFile]
    model_sha256: str
    card: CardFacts | None
    options: Mapping[str, OptionValue]
    versions: Mapping[str, str]
    onednn: str
    cpu: str
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def version(self) -> str:
        """The version of mnist-batch."""
        return self.versions.get("mnist-batch", "of unknown version")


def collect_fingerprint_inputs(
    config: PredictConfig,
    files: pa.Table,
    arrays: Mapping[bytes, Sequence[str]],
    label_files: Mapping[str, Stamp],
    model_sha256: str,
    card: CardFacts | None,
    environment: Environment,
) -> FingerprintInputs:
    """Returns everything the output depends on.

    files: the listing of the inputs.
    arrays: the selected arrays of each npz file, by path.
    label_files: the state in which the label files were read that are not in the listing, by name.
    environment: of this process.
    """
    labels = config.reading.labels
    return FingerprintInputs(
        inputs=ListingDigest(
            files=files.num_rows, bytes=int(pc.sum(files["size"]).as_py() or 0), sha256=_digest_files(files)
        ),
        arrays={to_text(path): list(names) for path, names in arrays.items()},
        labels=str(labels) if isinstance(labels, str) else "file",
        label_files=[(name, stamp.size, stamp.changed) for name, stamp in label_files.items()],
        model_sha256=model_sha256,
        card=card,
        options=_collect_options(config),
        versions=environment.versions,
        onednn=environment.onednn,
        cpu=environment.cpu,
        settings=environment.settings,
    )


def _collect_options(config: PredictConfig) -> dict[str, OptionValue]:
    """All options that can change a byte, by name: every field of the config and of its parts, except `_LEFT_OUT`."""
    fields = asdict(config)
    reading = fields.pop("reading")
    preprocess = reading.pop("preprocess_options")
    options = fields | reading | preprocess
    options["keep"] = list(config.reading.keep)  # as JSON gives it back
    return {name: value for name, value in options.items() if name not in _LEFT_OUT}


def compute_fingerprint(inputs: FingerprintInputs) -> str:
    """Returns the SHA-256, in hex, of what the output depends on."""
    return hashlib.sha256(json.dumps(to_builtins(inputs), sort_keys=True).encode()).hexdigest()


def list_differences(
    before: FingerprintInputs, now: FingerprintInputs, files_before: pa.Table | None, files: pa.Table
) -> list[str]:
    """Returns the differences between two runs, one per line.

    Examples: `1.png is new`, `options.batch_size: 4096, now 512`.

    files_before, files: the input listings of both runs. The first is None if it is not known.
    """
    lines = (
        [] if files_before is None else _list_file_differences(_with_text_names(files_before), _with_text_names(files))
    )
    # The digest of the listing adds nothing to the names of files.
    left_out = {"label_files", "inputs"} if lines else {"label_files"}
    if before.labels == now.labels:
        lines += _list_file_differences(parse_listing(before.label_files), parse_listing(now.label_files))
    values_before, values = (
        {name: value for name, value in to_builtins(inputs).items() if name not in left_out} for inputs in (before, now)
    )
    return [*lines, *_list_value_differences(values_before, values, "")]


def _list_value_differences(before: Json, now: Json, name: str) -> list[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        lines = []
        for key in sorted({*before, *now}):
            lines += _list_value_differences(before.get(key), now.get(key), f"{name}.{key}" if name else key)
        return lines
    return [] if before == now else [f"{name}: {_shorten_digest(before)}, now {_shorten_digest(now)}"]


def _shorten_digest(value: Json) -> Json:
    """Returns the first 12 characters of a digest, and any other value unchanged."""
    return value[:12] if isinstance(value, str) and len(value) == hashlib.sha256().digest_size * 2 else value


def list_inline(files: pa.Table) -> list[ListedFile] | None:
    """Returns name, size and modification time of each input file for the manifest, or None if there are too many."""
    if files.num_rows > _MAX_INLINE_FILES:
        return None
    columns = (files[name].to_pylist() for name in ("path", "size", "mtime_ns"))
    return [(to_text(path), size, mtime) for path, size, mtime in zip(*columns, strict=True)]


def parse_listing(files: Sequence[ListedFile]) -> pa.Table:
    """Returns the listing that `list_inline` put into a manifest, with paths as text."""
    columns = zip(*files, strict=True) if files else ([], [], [])
    return pa.table(
        [pa.array(column, field.type) for column, field in zip(columns, _LISTING_SCHEMA, strict=True)],
        schema=_LISTING_SCHEMA,
    )


def _with_text_names(files: pa.Table) -> pa.Table:
    """A listing with its paths as text instead of bytes."""
    if files.schema.field("path").type == pa.string():
        return files
    columns = [text_array(files["path"].combine_chunks()), files["size"], files["mtime_ns"]]
    return pa.table(columns, schema=_LISTING_SCHEMA)


def _list_file_differences(before: pa.Table, now: pa.Table) -> list[str]:
    """Says which files are gone, new or changed, with at most `MAX_LISTED` of each kind."""
    lines = [f"{name} is gone" for name in _list_missing(before, now)]
    lines += [f"{name} is new" for name in _list_missing(now, before)]
    # New files have nulls here. A comparison with null is null, and `filter` drops it.
    matching = before.take(pc.index_in(now["path"], before["path"]))
    changed = pc.or_(pc.not_equal(now["size"], matching["size"]), pc.not_equal(now["mtime_ns"], matching["mtime_ns"]))
    both = now.append_column("size_before", matching["size"]).filter(changed).slice(0, MAX_LISTED)
    for name, size, _, size_before in zip(*both.to_pydict().values(), strict=True):
        lines.append(
            f"{name} was written again" if size == size_before else f"{name} had {size_before} bytes, now {size}"
        )
    return lines


def _list_missing(files: pa.Table, others: pa.Table) -> list[str]:
    """The first paths of `files` that are not in `others`."""
    missing = pc.invert(pc.is_in(files["path"], others["path"]))
    return files["path"].filter(missing).slice(0, MAX_LISTED).to_pylist()


def _digest_files(files: pa.Table) -> str:
    """SHA-256, in hex, over one line per file, in order: `BYTES_OF_PATH SIZE MTIME_NS PATH`."""
    digest = hashlib.sha256()
    for batch in files.to_batches(max_chunksize=_CHUNK_ROWS):
        numbers = pc.binary_length(batch["path"]), batch["size"], batch["mtime_ns"]
        fields = [column.cast(pa.string()).cast(pa.binary()) for column in numbers]
        lines = pc.binary_join_element_wise(*fields, batch["path"], b" ")
        digest.update(b"\n".join(lines.to_pylist()) + b"\n")
    return digest.hexdigest()
