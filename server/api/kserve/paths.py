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
from server.http.path_table import PathTable

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

#: What the paths of a model ask for, by their ends.
_OF_MODEL: dict[str, Action] = {
    "": "metadata",
    "/ready": "ready",
    "/config": "config",
    "/stats": "stats",
    "/infer": "infer",
}

#: The actions with the method POST; the others have GET.
_POSTED = {"infer", "index", "load", "unload"}

#: What each path asks for, after ``/v2/``.
PATHS: PathTable[Action] = PathTable(
    {
        "health/live": "live",
        "health/ready": "ready server",
        "models/stats": "statistics of all",
        **{
            f"models/{{model}}{version}{end}": action
            for version in ("", "/versions/{version}")
            for end, action in _OF_MODEL.items()
        },
        "repository/index": "index",
        "repository/models/{model}/load": "load",
        "repository/models/{model}/unload": "unload",
    }
)

#: Ends of the paths of models for extensions that this server does not have.
_MISSING_OF_MODEL = (["trace", "setting"], ["generate"], ["generate_stream"])
#: First parts of other paths of such extensions.
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
    method = method_of(target.action)
    if head.method != method and not (head.method == "HEAD" and method == "GET"):
        allowed = method if method == "POST" else "GET, HEAD"
        raise HTTPError(
            405,
            f"Method Not Allowed: {head.method} {head.path}: allowed methods: {allowed}",
            {"Allow": allowed},
        )
    return target


def method_of(action: Action) -> str:
    """Return the method of requests for *action*; a GET may also be a HEAD."""
    return "POST" if action in _POSTED else "GET"


@lru_cache(maxsize=256)
def _target(path: str, rest: str) -> Target | None:
    """Return what *path* asks for, with *rest* after ``/v2/`` as sent; None: nothing is there."""
    if not rest and path == "/v2":
        return Target("server")
    found = PATHS.find(rest)
    if found is not None:
        action, texts = found
        return Target(action, texts.get("model", ""), texts.get("version"))
    match [unquote(part) for part in rest.split("/")]:
        case ["repository", _, "index"] | ["repository", _, "models", _, "load" | "unload"]:
            raise HTTPError(501, "a repository has no name here: /v2/repository/index")
        case ["models", _, "versions", _, *extension] | ["models", _, *extension] if (
            extension in _MISSING_OF_MODEL
        ):
            raise HTTPError(501, f"this server has no {extension[0]} extension")
        case [first, *_] if first in _MISSING:
            raise HTTPError(501, f"this server has no {first} extension")
    return None
