"""Two mutation operators that Cosmic Ray does not have: a statement is missing, an item is missing.

They make the faults of a change that was not finished: a check that was never written, a field that a fingerprint does
not hold. Statements whose loss ends every program at once (imports, definitions, first assignments of a name) stay.
"""

from __future__ import annotations

from typing import Any

import parso
from cosmic_ray.operators.operator import Example, Operator

Position = tuple[tuple[int, int], tuple[int, int]]

_DROPPED_STATEMENTS = ("atom_expr", "raise_stmt", "return_stmt", "del_stmt")
_LISTS = ("testlist_comp", "dictorsetmaker", "arglist")


class DropStatement(Operator):
    """Puts `pass` in the place of a call, a raise, a return, a deletion, or an assignment to a part of something."""

    def mutation_positions(self, node: Any) -> list[Position]:
        """One position for each statement that can be dropped."""
        if node.type == "simple_stmt" and _can_drop(node.children[0]):
            return [(node.children[0].start_pos, node.children[0].end_pos)]
        return []

    def mutate(self, node: Any, index: int) -> Any:  # noqa: ARG002  # the signature of Operator
        """Replaces the statement by `pass`."""
        node.children[0] = parso.parse(f"{node.get_first_leaf().prefix}pass")
        return node

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        """The cases that Cosmic Ray's own operators give as documentation."""
        return (Example("check(a)\n", "pass\n"), Example("a += 1\n", "pass\n"))


class DropItem(Operator):
    """Leaves out one keyword argument, or one item of a list, set or dict."""

    def mutation_positions(self, node: Any) -> list[Position]:
        """One position for each item."""
        return [(node.children[start].start_pos, node.children[end - 1].end_pos) for start, end in _items(node)]

    def mutate(self, node: Any, index: int) -> Any:
        """Removes the item and the comma behind it."""
        start, end = _items(node)[index]
        node.children = node.children[:start] + node.children[end + 1 :]
        return node

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        """The cases that Cosmic Ray's own operators give as documentation."""
        return (Example("f(a, b=1)\n", "f(a, )\n"), Example("[a, b]\n", "[b]\n"))


def _can_drop(statement: Any) -> bool:
    if statement.type == "expr_stmt":
        target, operator = statement.children[0], statement.children[1]
        is_augmented = getattr(operator, "type", "") == "operator" and operator.value != "="
        return is_augmented or target.type in {"atom_expr", "power"}
    return statement.type in {*_DROPPED_STATEMENTS, "power"}


def _items(node: Any) -> list[tuple[int, int]]:
    """Where each item stands among the children: the first child, and the child behind the last, its comma."""
    if node.type not in _LISTS or any(child.type in {"comp_for", "sync_comp_for"} for child in node.children):
        return []
    if node.type == "testlist_comp" and node.get_previous_leaf() == "(":  # a tuple, which is often unpacked
        return []
    found: list[tuple[int, int]] = []
    start = 0
    for at, child in enumerate([*node.children, None]):
        if child is not None and not (child.type == "operator" and child.value == ","):
            continue
        if at > start and _can_leave_out(node, node.children[start]):
            found.append((start, at))
        start = at + 1
    return found


def _can_leave_out(node: Any, item: Any) -> bool:
    return bool(node.type != "arglist" or (item.type == "argument" and item.children[0].type == "name"))
