"""Writes `mnist_batch/report/schema.json`, the JSON Schema of `report.json`, from the classes of the report.

A tool for developers of the package; `make goldens` runs it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from mnist_batch.report.document import REPORT_VERSION, Report

SCHEMA = Path(__file__).parent.parent / "mnist_batch" / "report" / "schema.json"


def build_schema() -> str:
    """Returns the schema as JSON."""
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"report.json of mnist-batch, version {REPORT_VERSION}",
    }
    schema = json.loads(json.dumps(msgspec.json.schema(Report)), object_hook=_unwrap_description)
    return json.dumps(head | schema, indent=1, ensure_ascii=False) + "\n"


def _unwrap_description(schema: dict[str, Any]) -> dict[str, Any]:
    """Puts a description, which may be a docstring, on one line."""
    description = schema.get("description")
    return schema | {"description": " ".join(description.split())} if isinstance(description, str) else schema


if __name__ == "__main__":
    SCHEMA.write_text(build_schema(), encoding="utf-8")
