"""What went wrong inside Keras or TensorFlow, as one line for a person."""

from __future__ import annotations

import re

# Characters of a foreign message. More make the line hard to read.
_MAX_LENGTH = 200
_COLOURS = re.compile(r"\x1b\[[\d;]*m")
# TensorFlow's names for nodes and operations within a message.
_NODES = re.compile(
    r"\{\{.*?\}\}|\[\[.*?\]\]|\[Op:[^\]]*\]|Error in user-defined function passed to .*? with iterator: \S+: "
)
_REPLACE = "replace it by a layer such as Rescaling, or export the model as a SavedModel"
# Lines that only introduce others.
_INTRODUCTIONS = re.compile(
    r"(Graph execution error|Detected at node|Node: |File \"|<stack traces|Exception encountered when|in user code|"
    r"Arguments received by|Call arguments received|Traceback|The original exception|\W*$)|.*most recent call last"
)


def find_cause(error: BaseException) -> str:
    """Returns the line of a foreign exception's message that says what is wrong, at most 200 characters.

    Keras puts it after the configuration that it could not build, TensorFlow after the place in the graph.
    """
    text = _COLOURS.sub("", str(error)).rpartition("Exception encountered:")[2]
    lines = [_NODES.sub("", line).strip() for line in text.splitlines()]
    line = next((line for line in lines if not _INTRODUCTIONS.match(line)), type(error).__name__)
    return line if len(line) <= _MAX_LENGTH else line[:_MAX_LENGTH].rstrip() + "..."


def explain_refusal(error: Exception) -> str:
    """Returns why Keras cannot build a model, in this program's form."""
    text = str(error)
    if "lambda" in text.lower() and "safe_mode" in text:
        return (
            "a model must be made of layers only, found a Lambda layer (Python code), which safe loading refuses: "
            + _REPLACE
        )
    custom = re.search(r"(?:Unknown \w+: |Could not \w+ (?:\w+ )?)[`'](\w[\w>.]*)[`']", text)
    if custom:
        name = re.split("[.>]", custom[1])[-1]
        if name in ("TFOpLambda", "TensorFlowOpLayer", "SlicingOpLambda"):
            return (
                "a model must be made of layers, found an operation on a tensor other than + - * / with a constant: "
                + _REPLACE
            )
        return (
            f"a model must be made of Keras's own layers, found {name!r}, whose code is not in the file: "
            "export the model as a SavedModel"
        )
    return (
        f"a model must be one that this Keras can rebuild, found {find_cause(error)}: "
        "export it as a SavedModel where it was trained"
    )
