"""Shorten TensorFlow's error messages to one line."""

import re

_FAILED_NODE = re.compile(r"\{\{node ([^}\s]+)\}\}")


def one_line(error: Exception) -> str:
    """
    Return the reason that the message of *error* gives, in one line.

    Leaves out the failed node and its source lines.  Never raises.  Every text that quotes an error
    of TensorFlow calls this function.
    """
    message: object = error
    if isinstance(error, KeyError) and error.args:
        message = error.args[0]  # str(error) would quote it
    if isinstance(error, UnicodeDecodeError):
        # error.object is TensorFlow's message, which quotes bytes that are not UTF-8.
        message = error.object.decode(errors="backslashreplace")
    lines = [line.strip() for line in str(message).splitlines()]
    heads = [number for number, line in enumerate(lines) if line.startswith("Node: ")]
    heads = heads or [number for number, line in enumerate(lines) if line.endswith("ion error:")]
    reason = next(filter(None, lines[heads[0] + 1 if heads else 0 :]), type(error).__name__)
    # The rest names the machine, and describes how TensorFlow 1 loaded its libraries.
    return reason.partition(" in binary running on ")[0]


def failed_node(error: Exception) -> str | None:
    """Return the name of the node that raised *error*; None if the message has none."""
    found = _FAILED_NODE.search(str(error))
    return found[1] if found else None
