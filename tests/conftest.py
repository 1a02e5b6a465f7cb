"""Fixtures of more than one module; a module that wants one in every test marks itself so."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.server import Log, watched_log
from tests.fakes.service import ServiceHarness


@pytest.fixture
def log() -> Iterator[Log]:
    """Watch the log, and see that the test leaves no error behind in it."""
    with watched_log() as log:
        yield log


@pytest.fixture
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a cache folder of the test's own, and no systemd."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> ServiceHarness:
    """Return a server that nobody has started."""
    return ServiceHarness(monkeypatch)
