"""Fixtures of more than one module; a module uses one in every test with `pytestmark`."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.executor import no_unhandled_errors
from tests.fakes.server import Log, watched_log
from tests.fakes.service import ServiceHarness


@pytest.fixture
def log() -> Iterator[Log]:
    """Watch the log, and fail the test if it logs an error that it does not flush."""
    with watched_log() as log:
        yield log


@pytest.fixture
def no_error_is_unhandled() -> Iterator[None]:
    """Fail the test if an error ends in the log instead of at its request."""
    with no_unhandled_errors():
        yield


@pytest.fixture
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the test a cache folder of its own, and no systemd."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> ServiceHarness:
    """Return a server that is not started."""
    return ServiceHarness(monkeypatch)
