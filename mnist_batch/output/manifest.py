"""What a run was, and the fingerprint that tells whether another start would be the same run.

The fingerprint covers everything that changes a byte of `predictions/` or `rejects/`: the files read (name, size, time
of change), the model's bytes, the options, and the builds and CPU features that float arithmetic depends on.
It imports no TensorFlow: a run that is already done is known for one at once.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mnist_batch.config import PredictConfig
from mnist_batch.errors import InputError
from mnist_batch.names import to_text
from mnist_batch.records import text_array

# Ours, and those whose releases may change a prediction's last bits or a file's bytes.
_PACKAGES = ("mnist-batch", "tensorflow", "keras", "numpy", "pyarrow", "opencv-python-headless")


# A manifest names its input files up to this many; that is some 100 KB.
_LISTED_FILES = 1000
# At a time, for each is a Python object for a moment.
_HASHED_FILES = 65_536
# As many differences as a message can name.
MAX_LISTED = 5
_LISTING = pa.schema({"path": pa.string(), "size": pa.int64(), "mtime_ns": pa.int64()})


def collect_fingerprint_inputs(
    config: PredictConfig,
    files: pa.Table,
    arrays: Mapping[bytes, Sequence[str]],
    label_files: Mapping[str, Path],
    model: Mapping[str, Any],
) -> dict[str, Any]:
    """Everything the output depends on, by name; `compute_fingerprint` is its digest.

    files: the listing of the inputs; arrays: by path, the arrays of an npz that were asked for; label_files: by name,
    those that are not in the listing; model: the facts that are known of it.
    """
    reading = config.reading
    return {
        "inputs": {"files": files.num_rows, "bytes": _total_bytes(files), "sha256": _digest_files(files)},
        "arrays": {to_text(path): list(names) for path, names in arrays.items()},
        "labels": str(reading.labels) if isinstance(reading.labels, str) else "file",
        "label_files": [[name, *_stat(path)] for name, path in label_files.items()],
        **model,
        "options": {
            "image_column": reading.image_column,
            "label_column": reading.label_column,
            "id_column": reading.id_column,
            "pixel_range": reading.pixel_range,
            "preprocess": reading.preprocess_options.mode,
            "transpose": reading.preprocess_options.transpose,
            "keep": list(reading.keep),
            "scale": config.scale,
            "format": config.format,
            "probabilities": config.probabilities,
            "batch_size": config.batch_size,
            "rows_per_part": config.rows_per_part,
        },
        "versions": {package: version(package) for package in _PACKAGES},
        "onednn": os.environ.get("TF_ENABLE_ONEDNN_OPTS", "default"),
        "cpu": cpu_features(),
    }


def compute_fingerprint(facts: dict[str, Any]) -> str:
    """SHA-256, in hex, of what the output depends on."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def list_differences(
    before: Mapping[str, Any], now: Mapping[str, Any], files_before: pa.Table | None, files: pa.Table
) -> list[str]:
    """What differs between two runs, a line each: `1.png is new`, `options.batch_size: 4096, now 512`.

    before, now: their facts; files_before, files: their listings, the first None where it is not known.
    """
    then, today = dict(before), dict(now)
    labels_before, labels = (parse_listing(facts.pop("label_files", [])) for facts in (then, today))
    changed = (
        [] if files_before is None else _list_file_differences(_with_text_names(files_before), _with_text_names(files))
    )
    if changed:  # the listing's digest tells a reader nothing more
        del then["inputs"], today["inputs"]
    if then.get("labels") == today["labels"]:
        changed += _list_file_differences(labels_before, labels)
    return [*changed, *_list_differences(then, today, "")]


def _list_differences(before: Any, now: Any, name: str) -> list[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        lines = []
        for key in sorted({*before, *now}):
            lines += _list_differences(before.get(key), now.get(key), f"{name}.{key}" if name else key)
        return lines
    return [] if before == now else [f"{name}: {_shorten(before)}, now {_shorten(now)}"]


def _shorten(value: Any) -> Any:
    """A value for a message; of a digest its beginning."""
    return value[:12] if isinstance(value, str) and len(value) == hashlib.sha256().digest_size * 2 else value


def list_inline(files: pa.Table) -> list[list[Any]] | None:
    """Name, size and time of change of each input file, for the manifest; None where there are too many."""
    if files.num_rows > _LISTED_FILES:
        return None
    return [[to_text(name), size, changed] for name, size, changed in _rows(files)]


def parse_listing(files: Sequence[Sequence[Any]]) -> pa.Table:
    """The listing that `list_inline` put into a manifest, its names as text."""
    columns = zip(*files, strict=True) if files else ([], [], [])
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, _LISTING, strict=True)], schema=_LISTING)


def _with_text_names(files: pa.Table) -> pa.Table:
    """A listing with names as they are shown."""
    if files.schema.field("path").type == pa.string():
        return files
    return pa.table([text_array(files["path"].combine_chunks()), files["size"], files["mtime_ns"]], schema=_LISTING)


def _list_file_differences(before: pa.Table, now: pa.Table) -> list[str]:
    """Which files came, went or changed since, and how; the first few of each kind."""
    lines = [
        f"{name} is {what}"
        for what, a, b in (("gone", before, now), ("new", now, before))
        for name in _list_missing(a, b)
    ]
    then = before.take(pc.index_in(now["path"], before["path"]))  # null for the new ones, which so are not changed
    changed = pc.or_(pc.not_equal(now["size"], then["size"]), pc.not_equal(now["mtime_ns"], then["mtime_ns"]))
    both = now.append_column("before", then["size"]).filter(changed).slice(0, MAX_LISTED)
    for name, size, _, size_before in zip(*both.to_pydict().values(), strict=True):
        lines.append(
            f"{name} was written again" if size == size_before else f"{name} had {size_before} bytes, now {size}"
        )
    return lines


def _list_missing(these: pa.Table, those: pa.Table) -> list[str]:
    """The first names of these that are none of those."""
    return these["path"].filter(pc.invert(pc.is_in(these["path"], those["path"]))).slice(0, MAX_LISTED).to_pylist()


def cpu_features() -> str:
    """The instruction sets that the matrix library chooses its code by, as a digest; the machine's name elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # macOS
        return f"{platform.machine()} {platform.processor()}"
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return f"{platform.machine()} {hashlib.sha256(flags.encode()).hexdigest()[:16]}"


def _digest_files(files: pa.Table) -> str:
    """SHA-256, in hex, over a line `BYTES_OF_PATH SIZE MTIME_NS PATH` for every file, in order."""
    digest = hashlib.sha256()
    for batch in files.to_batches(max_chunksize=_HASHED_FILES):
        numbers = pc.binary_length(batch["path"]), batch["size"], batch["mtime_ns"]
        fields = [column.cast(pa.string()).cast(pa.binary()) for column in numbers]
        lines = pc.binary_join_element_wise(*fields, batch["path"], b" ")
        digest.update(b"\n".join(lines.to_pylist()) + b"\n")
    return digest.hexdigest()


def _rows(files: pa.Table) -> Iterator[tuple[bytes, int, int]]:
    for batch in files.select(["path", "size", "mtime_ns"]).to_batches():
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def _stat(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError as error:
        raise InputError(f"{path}: labels must stay in place, but: {error.strerror}; start again") from error
    return status.st_size, status.st_mtime_ns


def _total_bytes(files: pa.Table) -> int:
    return int(pc.sum(files["size"]).as_py() or 0)
