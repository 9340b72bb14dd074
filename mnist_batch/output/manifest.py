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
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mnist_batch.config import PredictConfig
from mnist_batch.names import text_of

# Ours, and those whose releases may change a prediction's last bits or a file's bytes.
_PACKAGES = ("mnist-batch", "tensorflow", "keras", "numpy", "pyarrow", "opencv-python-headless")


# A manifest names its input files up to this many; that is some 100 KB.
_LISTED_FILES = 1000


def run_facts(config: PredictConfig, files: pa.Table, companions: Iterable[Path], model_digest: str) -> dict[str, Any]:
    """Everything the output depends on, by name; `fingerprint` is its digest."""
    reading = config.reading
    return {
        "inputs": {"files": files.num_rows, "bytes": _total(files), "sha256": _files_digest(_rows(files))},
        "arrays": [text.rpartition(":")[2] for text in config.inputs if not Path(text).exists() and ":" in text],
        "labels": str(reading.labels) if isinstance(reading.labels, str) else "file",
        "label_files": _files_digest(_as_listed(path) for path in companions),
        "model_sha256": model_digest,
        "options": {
            "image_column": reading.image_column,
            "label_column": reading.label_column,
            "id_column": reading.id_column,
            "pixel_range": reading.pixel_range,
            "preprocess": reading.preparation.mode,
            "transpose": reading.preparation.transpose,
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


def fingerprint(facts: dict[str, Any]) -> str:
    """SHA-256, in hex, of what the output depends on."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def differences(before: Any, now: Any, files: Sequence[str] = ()) -> list[str]:
    """What differs between two runs' facts, a line each: `options.batch_size: 4096, now 512`.

    files: what is known of single files; it stands for the listing's digest, which tells a reader nothing.
    """
    lines = _differences(before, now, "")
    return [*files, *(line for line in lines if not (files and line.startswith(("inputs.", "label_files:"))))]


def _differences(before: Any, now: Any, name: str) -> list[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        lines = []
        for key in sorted({*before, *now}):
            lines += _differences(before.get(key), now.get(key), f"{name}.{key}" if name else key)
        return lines
    return [] if before == now else [f"{name}: {_short(before)}, now {_short(now)}"]


def _short(value: Any) -> Any:
    """A value for a message; of a digest its beginning."""
    return value[:12] if isinstance(value, str) and len(value) == hashlib.sha256().digest_size * 2 else value


def listed(files: pa.Table, limit: int | None = _LISTED_FILES) -> list[list[Any]] | None:
    """Name, size and time of change of each input file; None where there are more than `limit`."""
    if limit is not None and files.num_rows > limit:
        return None
    return [[text_of(name), size, changed] for name, size, changed in _rows(files)]


def file_differences(before: Sequence[Sequence[Any]] | None, files: pa.Table) -> list[str]:
    """Which files came, went or changed since, and how; nothing where it is not known what there was."""
    if before is None:
        return []
    then = {name: (size, changed) for name, size, changed in before}
    now = {text_of(name): (size, changed) for name, size, changed in _rows(files)}
    lines = [f"{name} is gone" for name in sorted(then.keys() - now.keys())]
    lines += [f"{name} is new" for name in sorted(now.keys() - then.keys())]
    for name in sorted(name for name in then.keys() & now.keys() if then[name] != now[name]):
        (size, _), (new_size, _) = then[name], now[name]
        lines.append(f"{name} had {size} bytes, now {new_size}" if size != new_size else f"{name} was written again")
    return lines


def cpu_features() -> str:
    """The instruction sets that the matrix library chooses its code by, as a digest; the machine's name elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # macOS
        return f"{platform.machine()} {platform.processor()}"
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return f"{platform.machine()} {hashlib.sha256(flags.encode()).hexdigest()[:16]}"


def _files_digest(files: Iterable[tuple[bytes, int, int]]) -> str:
    """SHA-256, in hex, over name, size in bytes and time of change in ns of every file, in order."""
    digest = hashlib.sha256()
    for name, size, changed in files:
        digest.update(b"%d %d %d %s\n" % (len(name), size, changed, name))
    return digest.hexdigest()


def _rows(files: pa.Table) -> Iterator[tuple[bytes, int, int]]:
    for batch in files.select(["path", "size", "mtime_ns"]).to_batches():
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def _as_listed(path: Path) -> tuple[bytes, int, int]:
    status = path.stat()
    return os.fsencode(path.name), status.st_size, status.st_mtime_ns


def _total(files: pa.Table) -> int:
    return int(pc.sum(files["size"]).as_py() or 0)
