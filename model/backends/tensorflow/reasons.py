"""Say in one line what TensorFlow's errors say in many."""

import re

_BLAMED = re.compile(r"\{\{node ([^}\s]+)\}\}")


def one_line(error: Exception) -> str:
    """Return what went wrong in one line: TensorFlow says first at which node, and who made it."""
    lines = str(error).splitlines()
    nodes = [number for number, line in enumerate(lines) if line.startswith("Node: ")]
    reasons = (line.strip() for line in lines[nodes[0] + 1 if nodes else 0 :])
    said = (line for line in reasons if line not in ("", "Graph execution error:"))
    return next(said, type(error).__name__)


def blamed_node(error: Exception) -> str | None:
    """Return the node at which *error* arose, where it tells."""
    found = _BLAMED.search(str(error))
    return found[1] if found else None
