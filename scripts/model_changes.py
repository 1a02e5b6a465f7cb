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
NOT_SERVED = "not served"
FAILED = "failed"
INCOMPLETE = "incomplete"


def wait_for(
    model: "Model",
    read: "Callable[[], Model]",
    unsettled: "Callable[[Model], Collection[str]]",
    *,
    timeout: float,
    seconds: Callable[[], float],
    sleep: Callable[[float], object],
) -> "Model":
    """
    Call *read* until nothing of the model is *unsettled*, or for *timeout* seconds.

    Returns the last state of the model.  *model* is the answer to the change.  Blocks;
    *seconds* is a monotonic clock.  Raises what *read* raises.
    """
    end = seconds() + timeout
    while unsettled(model) and (left := end - seconds()) > 0:
        sleep(min(POLL_SECONDS, left))
        model = read()
    return model


def not_loaded(model: "Model", version: int | None) -> list[str]:
    """
    Return a line for each version that a load of *version* waits for.

    That is *version*, until it serves or has failed; None: each one whose state is still to change.
    """
    if version is None:
        return in_states(model, PASSING, None)
    found = [it for it in model.versions if it.version == str(version)]
    if not found:
        return [f"{model.name} has no version {version}"]
    return [_line(model, it) for it in found if it.state not in (SERVING, FAILED)]


def not_unloaded(model: "Model", version: int | None) -> list[str]:
    """
    Return a line for each version that an unload of *version*, or of all, waits for.

    A version serves until the versions that take its place do.
    """
    return in_states(model, PASSING | {SERVING}, version)


def not_labelled(model: "Model", version: int | None) -> list[str]:
    """
    Return a line for *version* while its state is still to change, after it was given a label.

    None: the label was removed, which takes effect at once.
    """
    return [] if version is None else in_states(model, PASSING, version)


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
