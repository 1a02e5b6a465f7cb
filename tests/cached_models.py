"""Models as tests publish them to a cache folder."""

from datetime import UTC, datetime
from pathlib import Path

from model.repository.cache import (
    ModelContents,
)

CREATED = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
CONTENTS = ModelContents(
    files={"graph.pb": b"\x00graph" * 100, "labels.txt": b"cat\ndog\n"},
    origin="made by hand",
    licence="MIT",
)


def cut_short(folder: Path) -> None:
    """Remove the last byte of a file."""
    path = folder / "graph.pb"
    path.write_bytes(path.read_bytes()[:-1])
