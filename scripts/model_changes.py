"""
Wait until a change of the model repository has taken effect, for `tensorferry models`.

The server answers a change when it has written it; models are loaded and unloaded afterwards.
Imports no HTTP: the caller passes the function that reads the state of the model.
"""

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scripts.model_client import Model, ModelVersion

POLL_SECONDS = 0.2

#: The states that a version leaves without a further change.
PASSING = frozenset({"waiting", "loading", "loaded", "draining"})

SERVING = "serving"
FAILED = "failed"
INCOMPLETE = "incomplete"


def wait_for(
    model: "Model",
    read: "Callable[[], Model]",
    *,
    version: int | None,
    timeout: float,
    seconds: Callable[[], float],
    sleep: Callable[[float], object],
) -> "Model":
    """
    Call *read* until nothing of the model is `unsettled`, or for *timeout* seconds.

    Returns the last state of the model.  *model* is the answer to the change.  Blocks;
    *seconds* is a monotonic clock.  Raises what *read* raises.
    """
    end = seconds() + timeout
    while unsettled(model, version) and (left := end - seconds()) > 0:
        sleep(min(POLL_SECONDS, left))
        model = read()
    return model


def unsettled(model: "Model", version: int | None = None) -> list[str]:
    """
    Return a line for each version whose state is still to change.

    With *version*, this is the only one, until it serves or has failed.
    """
    if version is None:
        return in_states(model, PASSING, None)
    found = [it for it in model.versions if it.version == str(version)]
    if not found:
        return [f"{model.name} has no version {version}"]
    return [_line(model, it) for it in found if it.state not in (SERVING, FAILED)]


def in_states(model: "Model", states: Collection[str], version: int | None) -> list[str]:
    """Return a line for each version, or for *version* alone, that is in one of *states*."""
    return [
        _line(model, it)
        for it in model.versions
        if it.state in states and (version is None or it.version == str(version))
    ]


def _line(model: "Model", found: "ModelVersion") -> str:
    verb = "" if found.state == FAILED else "is "
    reason = f": {found.reason}" if found.reason else ""
    return f"version {found.version} of {model.name} {verb}{found.state}{reason}"
