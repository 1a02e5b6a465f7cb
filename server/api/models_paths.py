"""
The paths below ``/models/``: which model, version or label, and what is asked of it.

Pure.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from server.http.error_statuses import HTTPError
from server.http.path_table import PathTable

Change = Literal["load", "unload"]

#: The change that each path asks for, after ``/models/``; None: it asks for inference, or for a
#: report of the model, or sets the label.
PATHS: PathTable[Change | None] = PathTable(
    {
        "{model}": None,
        "{model}/load": "load",
        "{model}/unload": "unload",
        "{model}/versions/{version}": None,
        "{model}/versions/{version}/load": "load",
        "{model}/versions/{version}/unload": "unload",
        "{model}/labels/{label}": None,
    }
)


@dataclass(frozen=True, slots=True)
class Target:
    """What the path of a request names."""

    name: str
    version: str | None = None
    label: str | None = None
    change: Change | None = None


@lru_cache(maxsize=256)
def target_of(rest: str) -> Target:
    """
    Return what *rest*, the path after ``/models/`` as sent, names.

    Raises a 404 for any other path.
    """
    found = PATHS.find(rest)
    if found is None:
        raise HTTPError(
            404, "expected /models/NAME, followed by /versions/V, /labels/L, /load or /unload"
        )
    change, texts = found
    return Target(texts["model"], texts.get("version"), texts.get("label"), change)
