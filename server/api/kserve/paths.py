"""
The paths below ``/v2``: what each one asks for, and with which method.

Pure.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal
from urllib.parse import unquote

from server.http.error_statuses import HTTPError
from server.http.messages import Head

Action = Literal[
    "server",
    "live",
    "statistics of all",
    "ready server",
    "metadata",
    "ready",
    "config",
    "stats",
    "infer",
    "index",
    "load",
    "unload",
]

#: The actions with the method POST; the others have GET.
_POSTED = {"infer", "index", "load", "unload"}

#: The paths that name no model, after ``/v2/``.
_FIXED: dict[str, Action] = {
    "health/live": "live",
    "health/ready": "ready server",
    "models/stats": "statistics of all",
    "repository/index": "index",
}

#: First parts of the paths of extensions that this server does not have.
_MISSING = {"trace", "logging", "systemsharedmemory", "cudasharedmemory", "tpusharedmemory"}


@dataclass(frozen=True, slots=True)
class Target:
    """What a path asks for."""

    action: Action
    name: str = ""  #: of the model
    version: str | None = None  #: a version, or a label in its place


def target_of(head: Head) -> Target:
    """
    Return what the path and the method of *head* ask for.

    Raises a 404 for an unknown path, a 405 for the method of another path, and a 501 for an
    extension of the protocol that this server does not have.
    """
    target = _target(head.path, head.rest)
    if target is None:
        raise HTTPError(404, f"Not Found: {head.method} {head.path}")
    method = "POST" if target.action in _POSTED else "GET"
    if head.method != method and not (head.method == "HEAD" and method == "GET"):
        allowed = method if method == "POST" else "GET, HEAD"
        raise HTTPError(
            405,
            f"Method Not Allowed: {head.method} {head.path}: allowed methods: {allowed}",
            {"Allow": allowed},
        )
    return target


@lru_cache(maxsize=256)
def _target(path: str, rest: str) -> Target | None:
    """Return what *path* asks for, with *rest* after ``/v2/`` as sent; None: nothing is there."""
    if not rest and path == "/v2":
        return Target("server")
    if rest in _FIXED:
        return Target(_FIXED[rest])
    match [unquote(part) for part in rest.split("/")]:
        case ["models", name, *more] if name:
            return _model_target(name, more)
        case ["repository", "models", name, ("load" | "unload") as action] if name:
            return Target(action, name)
        case ["repository", _, "index"] | ["repository", _, "models", _, "load" | "unload"]:
            raise HTTPError(501, "a repository has no name here: /v2/repository/index")
        case [first, *_] if first in _MISSING:
            raise HTTPError(501, f"this server has no {first} extension")
    return None


def _model_target(name: str, rest: list[str]) -> Target | None:
    """Return what a path asks for that continues with *rest* after the *name* of a model."""
    version = None
    if len(rest) > 1 and rest[0] == "versions" and rest[1]:
        version, rest = rest[1], rest[2:]
    match rest:
        case []:
            return Target("metadata", name, version)
        case [("ready" | "config" | "stats" | "infer") as action]:
            return Target(action, name, version)
        case ["trace", "setting"] | ["generate"] | ["generate_stream"]:
            raise HTTPError(501, f"this server has no {rest[0]} extension")
    return None
