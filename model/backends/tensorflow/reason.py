"""Say in one line what TensorFlow was unhappy about."""


def reason_of(error: Exception) -> str:
    """
    Return what went wrong, without the node at which it did and who made that node.

    Raises nothing; called wherever an error of TensorFlow becomes a `ModelError`.
    """
    # A KeyError puts its message in quotes.
    message = error.args[0] if isinstance(error, KeyError) and error.args else error
    lines = [line.strip() for line in str(message).splitlines()]
    heads = [number for number, line in enumerate(lines) if line.startswith("Node: ")]
    heads = heads or [number for number, line in enumerate(lines) if line.endswith("ion error:")]
    reason = next(filter(None, lines[heads[0] + 1 if heads else 0 :]), type(error).__name__)
    # What follows names the machine, and explains what a library of TensorFlow 1 needed.
    return reason.partition(" in binary running on ")[0]
