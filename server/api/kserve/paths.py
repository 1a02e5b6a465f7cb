"""
The paths below ``/v2``: what each one asks for, and with which method.

Pure.
"""

from dataclasses import dataclass
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
    target = _target(head)
    method = "POST" if target.action in _POSTED else "GET"
    if head.method != method and not (head.method == "HEAD" and method == "GET"):
        allowed = method if method == "POST" else "GET, HEAD"
        raise HTTPError(
            405,
            f"Method Not Allowed: {head.method} {head.path}: allowed methods: {allowed}",
            {"Allow": allowed},
        )
    return target


def _target(head: Head) -> Target:
    if not head.rest:
        if head.path == "/v2":
            return Target("server")
        raise _not_found(head)
    match [unquote(part) for part in head.rest.split("/")]:
        case ["health", "live"]:
            return Target("live")
        case ["health", "ready"]:
            return Target("ready server")
        case ["models", "stats"]:
            return Target("statistics of all")
        case ["models", name, *rest] if name:
            return _model_target(head, name, rest)
        case ["repository", "index"]:
            return Target("index")
        case ["repository", "models", name, ("load" | "unload") as action] if name:
            return Target(action, name)
        case ["repository", _, "index"] | ["repository", _, "models", _, ("load" | "unload")]:
            raise HTTPError(501, "a repository has no name here: /v2/repository/index")
        case [first, *_] if first in _MISSING:
            raise HTTPError(501, f"this server has no {first} extension")
    raise _not_found(head)


def _model_target(head: Head, name: str, rest: list[str]) -> Target:
    """Return what a path asks for that continues with *rest* after the *name* of a model."""
    version = None
    match rest:
        case ["versions", version, *rest] if not version:
            raise _not_found(head)
    match rest:
        case []:
            return Target("metadata", name, version)
        case [("ready" | "config" | "stats" | "infer") as action]:
            return Target(action, name, version)
        case ["trace", "setting"] | ["generate"] | ["generate_stream"]:
            raise HTTPError(501, f"this server has no {rest[0]} extension")
    raise _not_found(head)


def _not_found(head: Head) -> HTTPError:
    return HTTPError(404, f"Not Found: {head.method} {head.path}")
