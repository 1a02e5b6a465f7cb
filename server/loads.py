"""
The models that take requests, with their expected waits, as a registry lists them.

Runs on the reactor thread; cheap enough to be called every second.
"""

from server.discovery.worker_record import MAX_WAIT_SECONDS, ModelLoad
from server.models import Models


def model_loads(models: Models, max_wait: float = MAX_WAIT_SECONDS) -> dict[str, ModelLoad]:
    """
    Return the load of each model, by name; no wait is longer than *max_wait* seconds.

    The waits are those of the default version.  A model whose default version takes no requests is
    left out.
    """
    loads = {}
    for name in models.names:
        inference = models.default(name)
        if inference is not None:
            admission = inference.admission
            loads[name] = ModelLoad(
                min(admission.expected_wait(), max_wait),
                min(admission.added_wait(), max_wait),
                tuple(models.versions(name)),
            )
    return loads
