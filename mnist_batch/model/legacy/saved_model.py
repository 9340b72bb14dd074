"""Repairs SavedModels of TensorFlow 2.0 to 2.10, which hold the slots of their optimizer."""

from __future__ import annotations

from pathlib import Path

GRAPH = "saved_model.pb"


def write_without_slots(source: Path, target: Path) -> bool:
    """Writes the SavedModel `source` to the folder `target` without slot variables. Returns False if it has none.

    The variables are linked, not copied. TensorFlow restores an optimizer that it no longer knows as an object without
    `add_slot`, and fails on the first slot. Scoring needs no optimizer. Raises OSError if reading or writing fails, and
    ValueError if the graph is damaged.
    """
    from google.protobuf.message import DecodeError

    from mnist_batch.model.backend import saved_model_pb2

    model = saved_model_pb2.SavedModel()
    try:
        model.ParseFromString((source / GRAPH).read_bytes())
    except DecodeError as error:
        raise ValueError(f"a damaged {GRAPH}") from error
    with_slots = [
        node for graph in model.meta_graphs for node in graph.object_graph_def.nodes if len(node.slot_variables)
    ]
    if not with_slots:
        return False
    for node in with_slots:
        del node.slot_variables[:]
    target.mkdir()
    (target / GRAPH).write_bytes(model.SerializeToString())
    for folder in ("variables", "assets"):
        if (source / folder).is_dir():
            (target / folder).symlink_to((source / folder).resolve())
    return True
