"""A server that ends, by a kill or a stop, while a version is loaded."""

import shutil
import signal
from pathlib import Path
from time import monotonic

import pytest

from tests.integration.clients import post
from tests.integration.open_load import OpenLoad
from tests.integration.repositories import (
    Adders,
    Repository,
    publish,
    rows_body,
    served_repository,
    with_manifest,
)

pytestmark = pytest.mark.full


def publish_with_manifest(adders: Adders, version: int, folder: Path) -> None:
    """Copy *version* into place, complete from the first look at it."""
    publish(with_manifest(adders.files(version)), folder / str(version))


def begin_load(repository: Repository, version: int) -> None:
    """Publish *version* of the model adder; return when it is being loaded."""
    publish_with_manifest(repository.adders, version, repository.root / "adder")
    line = f"adder/{version}: loading"
    repository.server.wait_for(lambda: line in repository.server.log, line)


def test_a_kill_or_a_stop_during_a_load_loses_no_version_and_no_accepted_request(
    cache_home: Path, tmp_path: Path
) -> None:
    """
    After a kill the next start serves the newest complete version, without what is half copied.

    A stop answers every request that was sent before it, and ends with 0.  Without a token file
    the public port takes no change.
    """
    adder = tmp_path / "models" / "adder"
    adder.mkdir(parents=True)
    publish_with_manifest(Adders(tmp_path / "adders"), 1, adder)
    with served_repository(tmp_path, cache_home, token=False) as repository:
        assert post(repository.server.port, b"", path="/models/adder/unload").status == 404
        begin_load(repository, 2)
        repository.server.signal(signal.SIGKILL)
        assert repository.server.exit_code() == -signal.SIGKILL
    half = adder / "3"
    shutil.copytree(with_manifest(repository.adders.files(3)), half)
    (half / "saved_model.pb").unlink()
    with served_repository(tmp_path, cache_home, token=False) as repository:
        answer = post(repository.server.port, rows_body([1, 2]))
        assert answer.headers["x-model-version"] == "adder/2"
        assert repository.version("adder", 3)["reason"] == (
            "differs from manifest.json: saved_model.pb is missing"
        )
        load = OpenLoad(repository.server.port, ["/", "/models/adder"])
        load.wait(0.4)
        begin_load(repository, 4)
        signalled = monotonic()
        repository.server.signal()
        load.join()
        assert repository.server.exit_code() == 0
    load.check()
    assert min(load.unanswered) > signalled
    assert max(answer.began for answer in load.answers) > signalled - 0.2, "the load was too low"
    assert "stopped; every accepted request was answered" in repository.server.log
