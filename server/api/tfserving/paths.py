"""
Read the paths below `/v1/`: which model, which version of it, and what is asked of it.

Pure.  The words of a path are in upper or lower case; names and labels are decoded.
"""

import re
from dataclasses import dataclass
from urllib.parse import unquote

from server.api.tfserving.errors import invalid
from server.http.error_statuses import HTTPError
from server.http.messages import Head

#: What may follow the name of a model, and the pattern that reads it.
VERSIONS = {
    "/versions/{version}": r"/versions/(?P<version>\d+)",
    "/labels/{label}": r"/labels/(?P<label>[^/:]+)",
}
#: What a POST may ask for.
ACTIONS = ("predict", "classify", "regress")

_VERSION = f"(?:{'|'.join(VERSIONS.values())})?"
_FLAGS = re.IGNORECASE | re.ASCII
_INFER = re.compile(rf"models/(?P<name>[^/:]+){_VERSION}:(?P<action>{'|'.join(ACTIONS)})", _FLAGS)
_SHOW = re.compile(rf"models(?:/(?P<name>[^/:]+))?{_VERSION}(?:/(?P<action>metadata))?", _FLAGS)

#: The largest version that a path can name.
MAX_VERSION = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Target:
    """What a path names."""

    name: str  #: empty only for the list of models
    version: str | None = None  #: digits without leading zeros
    label: str | None = None
    action: str = ""  #: classify, regress, predict or metadata; empty: the status

    def not_found(self) -> HTTPError:
        """Return the error for a model, a version or a label that is not served."""
        if self.label is not None:
            return invalid(f"Unrecognized servable version label: {self.label}")
        asked = f"Latest({self.name})"
        if self.version is not None:
            asked = f"Specific({self.name}, {self.version})"
        return HTTPError(404, f"Servable not found for request: {asked}")


def described_paths() -> dict[str, tuple[str, str]]:
    """
    Return the paths with a model, with words in braces: the method, and what is asked for.

    That is one of `ACTIONS`, "metadata" or "status".
    """
    paths: dict[str, tuple[str, str]] = {}
    for version in ("", *VERSIONS):
        model = f"/v1/models/{{model}}{version}"
        paths |= {f"{model}:{action}": ("POST", action) for action in ACTIONS}
        paths |= {model: ("GET", "status"), f"{model}/metadata": ("GET", "metadata")}
    return paths


def inference_target(head: Head) -> Target:
    """Return what the path of a POST names; raises a 400 for any other path below `/v1/`."""
    return _target(_INFER, head)


def shown_target(head: Head) -> Target:
    """Return what the path of a GET names; raises a 400 for any other path below `/v1/`."""
    return _target(_SHOW, head)


def allowed_methods(head: Head) -> str:
    """Return the methods of the path of *head*; for a path that is not known, those of all."""
    if _INFER.fullmatch(head.rest):
        return "POST"
    return "GET, HEAD" if _SHOW.fullmatch(head.rest) else "GET, HEAD, POST"


def malformed(head: Head) -> str:
    """Return the message for a path and a method that are not known."""
    return f"Malformed request: {head.method} /v1/{head.rest}"


def _target(pattern: re.Pattern[str], head: Head) -> Target:
    found = pattern.fullmatch(head.rest)
    if found is None:
        raise invalid(malformed(head))
    label = found["label"]
    return Target(
        unquote(found["name"] or ""),
        _version(found["version"]),
        None if label is None else unquote(label),
        (found["action"] or "").lower(),
    )


def _version(digits: str | None) -> str | None:
    """Return the version with these *digits*; None for 0, by which clients mean the latest."""
    if digits is None:
        return None
    number = digits.lstrip("0")
    if len(number) > 19 or int(number or 0) > MAX_VERSION:
        raise invalid(f"Failed to convert version: {digits[:80]} to numeric.")
    return number or None
