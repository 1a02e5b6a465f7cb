"""
Keep measurements as small JSON files, and find them again.

One row a line, so that a new measurement can be read as a difference.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

#: A measurement as its file holds it.
Kept = Mapping[str, Any]

#: The kinds, in the order of the page.
KINDS = (
    "yardstick",
    "shedding",
    "profile",
    "overhead",
    "decode",
    "client",
    "loadtest",
    "replay",
    "sleeping",
)


def read_all(folder: Path) -> dict[str, Kept]:
    """Return the measurements in *folder* by kind; those never taken are left out."""
    files = {kind: folder / f"{kind}.json" for kind in KINDS}
    return {
        kind: json.loads(file.read_text(encoding="utf-8"))
        for kind, file in files.items()
        if file.exists()
    }


def write(folder: Path, kind: str, kept: Kept) -> None:
    """Write the measurement of *kind* to its file in *folder*."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{kind}.json").write_text(dumped(kept), encoding="utf-8")


def dumped(kept: Kept) -> str:
    """Return *kept* as JSON, with a line for each key and for each item of a list or mapping."""
    keys = (f"{json.dumps(key)}: {_dumped(value)}" for key, value in kept.items())
    return "{\n" + ",\n".join(keys) + "\n}\n"


def _dumped(value: object) -> str:
    if isinstance(value, list) and value:
        return "[\n " + ",\n ".join(map(json.dumps, value)) + "\n]"
    if isinstance(value, dict) and value:
        items = (f"{json.dumps(key)}: {json.dumps(each)}" for key, each in value.items())
        return "{\n " + ",\n ".join(items) + "\n}"
    return json.dumps(value)
