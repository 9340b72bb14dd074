"""Errors in the command line itself, in the words of this program."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from pydantic import ValidationError

# What a value must be, by the first part of pydantic's error type.
_KINDS = {"int": "a whole number", "float": "a number", "bool": "true or false"}
_SEE_HELP = "see mnist-batch --help"


def describe_usage_error(error: typer.TyperException) -> str:
    """Returns one line: what must hold, what was found, and what to do."""
    # Typer exports the base class only. The fields of the others tell them apart.
    fields: dict[str, Any] = vars(error)
    option = fields.get("option_name")
    if "possibilities" in fields:
        similar = fields["possibilities"]
        found = f"{option}: options must be known, this one is not"
        return f"{found}: did you mean {' or '.join(similar)}?" if similar else f"{found}: {_SEE_HELP}"
    if option is not None:
        must = "takes no value, got one" if "not take" in fields["message"] else "must have a value, got none"
        return f"{option} {must}: {_SEE_HELP}"
    if isinstance(error, typer.BadParameter) and error.param is not None:
        name = error.param.metavar if error.param.param_type_name == "argument" else error.param.opts[0]
        if error.__cause__ is None:
            return f"{name} must be given, is missing: {_SEE_HELP}"
        return f"{name} must be {_describe_value(error.__cause__)}: {_SEE_HELP}"  # type: ignore[arg-type]  # pydantic's
    message = str(fields.get("message", error)).rstrip(".")
    return f"the command line must be valid, but: {message[:1].lower()}{message[1:]}: {_SEE_HELP}"


def _describe_value(error: ValidationError) -> str:
    """What the value must be and what was given."""
    problem = error.errors()[0]
    _, is_choice, choices = problem["msg"].partition("is not one of ")
    kind = _KINDS.get(problem["type"].partition("_")[0], "valid")
    must = f"one of {choices.replace(chr(39), '').rstrip('.')}" if is_choice else kind
    return f"{must}, got {problem['input']!r}"
