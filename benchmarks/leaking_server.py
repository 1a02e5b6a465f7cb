"""
`python -m benchmarks.leaking_server`: the command `tensorferry`, whose server never frees a model.

A control of `benchmarks.swap_memory`: a check that does not flag this server checks nothing.
"""

from scripts.cli import main
from server.model_host import ModelHost

#: Every host that should have been closed; each refers to its model.
KEPT: list[ModelHost] = []


def keep(host: ModelHost) -> None:
    """Keep the model of *host* in memory."""
    KEPT.append(host)


if __name__ == "__main__":
    ModelHost.close = keep  # type: ignore[method-assign,assignment] # the fault of this server
    main()
