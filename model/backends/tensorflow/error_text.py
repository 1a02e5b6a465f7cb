"""Say in one line what TensorFlow's errors say in many."""

import re

_FAILED_NODE = re.compile(r"\{\{node ([^}\s]+)\}\}")


def one_line(error: Exception) -> str:
    """
    Return what went wrong, without the node at which it did and who made that node.

    Raises nothing; called wherever an error of TensorFlow is shown.
    """
    message: object = error
    if isinstance(error, KeyError) and error.args:
        message = error.args[0]  # it is in quotes otherwise
    if isinstance(error, UnicodeDecodeError):
        # TensorFlow's own message, which quotes bytes that are not UTF-8.
        message = error.object.decode(errors="backslashreplace")
    lines = [line.strip() for line in str(message).splitlines()]
    heads = [number for number, line in enumerate(lines) if line.startswith("Node: ")]
    heads = heads or [number for number, line in enumerate(lines) if line.endswith("ion error:")]
    reason = next(filter(None, lines[heads[0] + 1 if heads else 0 :]), type(error).__name__)
    # What follows names the machine, and explains what a library of TensorFlow 1 needed.
    return reason.partition(" in binary running on ")[0]


def failed_node(error: Exception) -> str | None:
    """Return the node at which *error* arose, where it tells."""
    found = _FAILED_NODE.search(str(error))
    return found[1] if found else None
