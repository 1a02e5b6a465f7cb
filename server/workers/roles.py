"""
What a worker process is, as its supervisor states it in an environment variable.

Pure, except that `worker_role` reads the environment.  The name of the variable does not begin with
TENSORFERRY_, because it is no setting.
"""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import orjson

VARIABLE = "_TENSORFERRY_WORKER"


@dataclass(frozen=True, slots=True)
class WorkerRole:
    """The part of one worker."""

    index: int  #: from 0
    workers: int  #: how many there are, this one included
    parent: int  #: the process id of the supervisor
    channel: int  #: the descriptor of the connection to the supervisor
    #: The descriptors of the sockets to accept from, by the description of the address.
    listeners: Mapping[str, int]
    #: Whether to accept connections while the model loads; otherwise only when it is ready.
    accepts_at_once: bool

    def variables(self) -> dict[str, str]:
        """Return the environment variable that makes a process this worker."""
        return {VARIABLE: orjson.dumps(asdict(self)).decode()}


def worker_role(environ: Mapping[str, str] = os.environ) -> WorkerRole | None:
    """Return the role of this process; None if it is no worker of a supervisor."""
    text = environ.get(VARIABLE)
    return None if text is None else WorkerRole(**orjson.loads(text))
