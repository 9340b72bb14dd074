"""What the fingerprint covers, derived from the configuration: a new option or fact cannot be forgotten."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from mnist_batch.config import AutoLabels, OutputFormat, PixelRange, PredictConfig, ReadOptions, Scale
from mnist_batch.output.environment import Environment
from mnist_batch.output.fingerprint import (
    CardFacts,
    FingerprintInputs,
    collect_fingerprint_inputs,
    compute_fingerprint,
    list_differences,
)
from mnist_batch.sources.listing import FILE_SCHEMA
from mnist_batch.sources.protocol import Stamp

CONFIG = PredictConfig(("in",), Path("out"))
# Another value for each option whose default does not tell what values it takes.
OTHERS: Mapping[str, Any] = {
    "inputs": ("other",),
    "output": Path("other"),
    "labels": AutoLabels.NONE,
    "image_column": "image",
    "label_column": "label",
    "id_column": "id",
    "pixel_range": PixelRange.UNIT,
    "keep": ("a",),
    "scale": Scale.BYTE,
    "min_accuracy": 0.5,
    "baseline": Path("other"),
    "model": "other",
}
# The inputs and the model are in the fingerprint by their content, the others change no byte of a part.
WITHOUT_EFFECT = {
    *("inputs", "output", "model", "listed", "overwrite", "max_reject_rate", "min_accuracy", "strict", "baseline"),
}
FILES = pa.table(
    {"path": pa.array([b"1.png", b"2.png"]), "size": [10, 20], "mtime_ns": [1, 2], "named": [False, False]},
    schema=FILE_SCHEMA,
)
ENVIRONMENT = Environment({"mnist-batch": "1", "tensorflow": "2"}, "default", "cpu", {"XLA_FLAGS": "a"})
CARD = CardFacts("0..1", "logits", 1.5)


def collect(
    config: PredictConfig = CONFIG,
    files: pa.Table = FILES,
    arrays: Mapping[bytes, list[str]] | None = None,
    label_files: Mapping[str, Stamp] | None = None,
    model_sha256: str = "abc",
    card: CardFacts | None = CARD,
    environment: Environment = ENVIRONMENT,
) -> FingerprintInputs:
    return collect_fingerprint_inputs(
        config,
        files,
        arrays or {b"x.npz": ["a"]},
        {"labels": Stamp(5, 6)} if label_files is None else label_files,
        model_sha256,
        card,
        environment,
    )


def list_options(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of each option in a configuration, through the dataclasses in it."""
    for field in fields(value):
        part = getattr(value, field.name)
        if is_dataclass(part):
            yield from list_options(part, (*path, field.name))
        else:
            yield (*path, field.name)


def replace_field(value: Any, name: str, other: Any) -> Any:
    return replace(value, **{name: other})


def change(value: Any, path: tuple[str, ...]) -> Any:
    """A configuration with another value for one option."""
    name, *rest = path
    part = getattr(value, name)
    if rest:
        return replace_field(value, name, change(part, tuple(rest)))
    if name in OTHERS:
        other = OTHERS[name]
    elif isinstance(part, bool):
        other = not part
    elif isinstance(part, Enum):
        other = next(member for member in type(part) if member is not part)
    else:
        other = part / 2 if isinstance(part, float) else part + 1
    assert other != part
    return replace_field(value, name, other)


@pytest.mark.parametrize("path", list(list_options(CONFIG)), ids=".".join)
def test_every_option_with_an_effect_is_covered(path: tuple[str, ...]) -> None:
    before, now = collect(), collect(change(CONFIG, path))
    differs = compute_fingerprint(before) != compute_fingerprint(now)
    assert differs == (path[-1] not in WITHOUT_EFFECT)
    if differs:
        assert any(path[-1] in line for line in list_differences(before, now, FILES, FILES))


def test_options_without_effect_exist() -> None:
    assert {path[-1] for path in list_options(CONFIG)} >= WITHOUT_EFFECT


@pytest.mark.parametrize("field", [field.name for field in fields(Environment)])
def test_every_fact_of_the_environment_is_covered(field: str) -> None:
    value = getattr(ENVIRONMENT, field)
    for key in value if isinstance(value, dict) else [None]:
        other = "other" if key is None else {**value, key: "other"}
        changed = collect(environment=replace_field(ENVIRONMENT, field, other))
        assert compute_fingerprint(changed) != compute_fingerprint(collect())
        assert any("other" in line for line in list_differences(collect(), changed, FILES, FILES))


@pytest.mark.parametrize("field", [field.name for field in fields(CardFacts)])
def test_every_fact_of_the_card_is_covered(field: str) -> None:
    other = replace_field(CARD, field, 3.0 if field == "temperature" else "other")
    assert compute_fingerprint(collect(card=other)) != compute_fingerprint(collect())
    assert compute_fingerprint(collect(card=None)) != compute_fingerprint(collect())


@pytest.mark.parametrize(
    ("column", "row", "value", "difference"),
    [
        ("path", 0, b"0.png", "1.png is gone"),
        ("size", 1, 21, "2.png had 20 bytes, now 21"),
        ("mtime_ns", 0, 3, "1.png was written again"),
    ],
)
def test_every_file_is_covered(column: str, row: int, value: object, difference: str) -> None:
    values = FILES[column].to_pylist()
    values[row] = value
    at = FILE_SCHEMA.get_field_index(column)
    files = FILES.set_column(at, FILE_SCHEMA.field(column), pa.array(values, FILE_SCHEMA.field(column).type))
    now = collect(files=files)
    assert compute_fingerprint(now) != compute_fingerprint(collect())
    assert difference in list_differences(collect(), now, FILES, files)


def test_order_of_files_is_covered() -> None:
    files = FILES.take([1, 0])
    assert compute_fingerprint(collect(files=files)) != compute_fingerprint(collect())


@pytest.mark.parametrize(
    "other",
    [
        {"model_sha256": "abd"},
        {"arrays": {b"x.npz": ["b"]}},
        {"arrays": {b"y.npz": ["a"]}},
        {"label_files": {"labels": Stamp(7, 6)}},
        {"label_files": {"labels": Stamp(5, 7)}},
        {"label_files": {"other": Stamp(5, 6)}},
        {"label_files": {}},
    ],
)
def test_everything_else_is_covered(other: Mapping[str, Any]) -> None:
    assert compute_fingerprint(collect(**other)) != compute_fingerprint(collect())


def test_label_file_is_not_the_same_as_its_name() -> None:
    """A label file is covered by its state, `--labels` by whether it names one."""
    given = replace(CONFIG, reading=ReadOptions(labels=Path("labels")))
    elsewhere = replace(CONFIG, reading=ReadOptions(labels=Path("elsewhere/labels")))
    assert compute_fingerprint(collect(given)) == compute_fingerprint(collect(elsewhere))
    assert compute_fingerprint(collect(given)) != compute_fingerprint(collect())


def test_same_things_have_the_same_fingerprint() -> None:
    assert compute_fingerprint(collect()) == compute_fingerprint(collect())
    assert list_differences(collect(), collect(), FILES, FILES) == []
    assert CONFIG.format is OutputFormat.PARQUET
