"""
The models that take requests, with their expected waits, as a registry lists them.

Runs on the reactor thread; cheap enough to be called every second.
"""

from server.discovery.worker_record import ModelLoad
from server.models import Models

#: The longest wait that a registry is given: while all lanes hang, the wait is infinite.
MAX_WAIT_SECONDS = 3600.0


def model_loads(models: Models) -> dict[str, ModelLoad]:
    """
    Return the load of each model, by name.

    The waits are those of the default version.  A model whose default version takes no requests is
    left out.
    """
    loads = {}
    for name in models.names:
        inference = models.default(name)
        if inference is not None:
            admission = inference.admission
            loads[name] = ModelLoad(
                min(admission.expected_wait(), MAX_WAIT_SECONDS),
                min(admission.added_wait(), MAX_WAIT_SECONDS),
                tuple(models.versions(name)),
            )
    return loads
