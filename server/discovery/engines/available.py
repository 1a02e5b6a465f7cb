"""
The engines of registries, by the schemes of their URLs: the only module that names each of them.

The module of an engine is imported when it is used: each has a client library of its own.
"""

from collections.abc import Callable
from typing import Any

from server.discovery.engine import Registrar, Watch
from server.discovery.engine_url import EngineURL

# ruff: noqa: PLC0415 - see above


# Any: Twisted has no type for all of a reactor.
def open_registrar(url: EngineURL, reactor: Any, token: Callable[[], str | None]) -> Registrar:
    """
    Return a registrar for the registry at *url*, whose scheme is one of `ANNOUNCED`.

    *token* returns the token that ``registry://`` asks for.
    """
    if url.scheme == "zk":
        from server.discovery.engines.zookeeper import ZooKeeperRegistrar

        return ZooKeeperRegistrar(url, reactor)
    if url.scheme == "etcd":
        from server.discovery.engines.etcd import EtcdRegistrar

        return EtcdRegistrar(url, reactor)
    from server.discovery.engines.registry import RegistryRegistrar

    return RegistryRegistrar(url, reactor, token)


def open_watch(url: EngineURL, reactor: Any) -> Watch:
    """Return the watch of the workers at *url*, not started; its scheme is zk, etcd or srv."""
    if url.scheme == "zk":
        from server.discovery.engines.zookeeper import ZooKeeperWatch

        return ZooKeeperWatch(url, reactor)
    if url.scheme == "etcd":
        from server.discovery.engines.etcd import EtcdWatch

        return EtcdWatch(url, reactor)
    from server.discovery.engines.srv import SRVWatch

    return SRVWatch(url, reactor)
