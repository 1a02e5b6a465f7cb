"""Registries that ask for a user and a password."""

from pathlib import Path

import orjson
import pytest

from server.discovery.engine import EngineError
from tests.integration.clients import post
from tests.integration.engines.discovery import discovery, until, until_put, worker
from tests.integration.engines.etcd import Etcd
from tests.integration.engines.zookeeper import ZooKeeper
from tests.integration.watched import in_reactor

pytestmark = pytest.mark.full


def ask_for_a_password(etcd: Etcd) -> None:
    """Add the user root with the password p:w, and turn authentication on."""
    for call, body in {
        "user/add": {"name": "root", "password": "p:w"},
        "user/grant": {"user": "root", "role": "root"},
        "enable": {},
    }.items():
        answer = post(etcd.port, orjson.dumps(body), path=f"/v3/auth/{call}")
        assert answer.status == 200, answer.body


@in_reactor
async def test_etcd_gets_the_password_of_the_url(tmp_path: Path) -> None:
    """Its token is renewed when it is no longer valid, as after a new start of etcd."""
    with Etcd(tmp_path) as etcd:
        ask_for_a_password(etcd)
        async with discovery(etcd.url) as opened:
            with pytest.raises(EngineError, match="etcd: etcdserver: user name is empty"):
                await opened.registrar().put(worker(1))
        async with discovery(etcd.url.replace("://", "://root:wrong@")) as opened:
            with pytest.raises(EngineError, match="invalid user ID or password"):
                await opened.registrar().put(worker(1))
        async with discovery(etcd.url.replace("://", "://root:p%3Aw@")) as opened:
            watch, registrar = opened.watch(), opened.registrar()
            await registrar.put(worker(1))
            await until(lambda: dict(watch.members.workers) == {"worker-1": worker(1)}, "worker")
            etcd.kill()
            etcd.restart()
            await until_put(registrar, worker(1, 0.5))
            changed = {"worker-1": worker(1, 0.5)}
            await until(lambda: dict(watch.members.workers) == changed, "change")
            await registrar.withdraw()


@in_reactor
async def test_nodes_of_zookeeper_are_those_of_the_user_in_the_url(tmp_path: Path) -> None:
    """Others can neither read nor write them."""
    with ZooKeeper(tmp_path) as zookeeper:
        async with discovery(zookeeper.url.replace("://", "://u:p%3Aw@")) as own:
            await own.registrar().put(worker(1))
            watch = own.watch()
            await until(lambda: dict(watch.members.workers) == {"worker-1": worker(1)}, "worker")
            async with discovery(zookeeper.url) as other:
                strange = other.watch()
                reason = "ZooKeeper: NoAuthError"
                await until(lambda: strange.members.away == reason, "refusal")
                with pytest.raises(EngineError, match=reason):
                    await other.registrar().put(worker(2))
