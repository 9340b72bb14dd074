"""Documents: dataclasses that are stored as JSON. Their fields, types and limits are declared once, in the dataclass.

A reader names the field that is wrong. Keys that a document does not have are ignored, unless `check_keys` is called.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

Count = Annotated[int, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, le=1)]
Digit = Annotated[int, Meta(ge=0, le=9)]
Interval = tuple[Share, Share]
# The values of a JSON object before they are checked.
JsonObject = dict[str, "Json"]
Json = str | int | float | bool | None | list["Json"] | JsonObject

Document = TypeVar("Document")


class DocumentError(ValueError):
    """The content of a file is not the document that it must be. One line, which names the field that is wrong."""


def to_builtins(document: object) -> JsonObject:
    """Returns a document as the values that JSON has. bytes become base64, enums their value."""
    return msgspec.to_builtins(document, str_keys=True)


def to_json(document: object) -> str:
    """Returns a document as indented JSON. A list of numbers is on one line, so that matrices are readable."""
    text = json.dumps(to_builtins(document), indent=2, ensure_ascii=False)
    # JSON escapes line breaks inside strings, so the pattern cannot match within one.
    return re.sub(r"\[\n\s+([-+.\deE,\s]+?)\n\s+\]", lambda match: f"[{' '.join(match[1].split())}]", text) + "\n"


def parse_json(text: bytes) -> JsonObject:
    """Parses a JSON object. Raises DocumentError if the text is anything else."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DocumentError(f"no JSON: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise DocumentError(f"{'a list' if isinstance(content, list) else 'a single value'} instead of an object")
    return content


def parse_document(content: Mapping[str, Json], kind: type[Document]) -> Document:
    """Returns the document of a JSON object. Raises DocumentError, which names the field, if one is not as declared."""
    try:
        return msgspec.convert(content, kind, str_keys=True)
    except (msgspec.ValidationError, ValueError, OverflowError) as error:
        raise DocumentError(_reword(str(error))) from error


def _reword(message: str) -> str:
    """The message of msgspec with the field first. Example: "in `rows`: expected `int`, got `str`"."""
    message, _, path = message.partition(" - at `$")
    message = f"{message[:1].lower()}{message[1:]}"
    field = path.rstrip("`").lstrip(".")
    return f"in `{field}`: {message}" if field else message


def read_version(content: Mapping[str, Json], key: str) -> int:
    """Returns the version of a document; 1 if it has none. Raises DocumentError if it is not a positive integer."""
    version = content.get(key, 1)
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise DocumentError(f"{key} {version!r}")
    return version


def check_readable(content: Mapping[str, Json], key: str, newest: int) -> None:
    """Raises DocumentError if the document has a later version than this program can read."""
    if (version := read_version(content, key)) > newest:
        raise DocumentError(f"{key} {version}, and this version of mnist-batch reads up to {newest}")


def check_keys(content: Mapping[str, Json], document: object) -> None:
    """Raises DocumentError if the JSON object has a key that the document, which was parsed from it, does not have."""
    unknown = _find_unknown_key(dict(content), to_builtins(document), "")
    if unknown is not None:
        raise DocumentError(f"an unknown key `{unknown}`")


def _find_unknown_key(content: Json, known: Json, path: str) -> str | None:
    if not isinstance(content, dict) or not isinstance(known, dict):
        return None
    for key, value in content.items():
        inner = f"{path}.{key}" if path else key
        if key not in known:
            return inner
        if (unknown := _find_unknown_key(value, known[key], inner)) is not None:
            return unknown
    return None
