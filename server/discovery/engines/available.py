"""
The engines of registries, by the schemes of their URLs: the only module that names each of them.

The module of an engine is imported when it is used: each has a client library of its own.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any, cast

from server.discovery.engine import Registrar, Watch
from server.discovery.engine_url import EngineURL

_REGISTRARS = {
    "zk": ("zookeeper", "ZooKeeperRegistrar"),
    "etcd": ("etcd", "EtcdRegistrar"),
    "registry": ("registry", "RegistryRegistrar"),
}
_WATCHES = {
    "zk": ("zookeeper", "ZooKeeperWatch"),
    "etcd": ("etcd", "EtcdWatch"),
    "srv": ("srv", "SRVWatch"),
}


# Any: Twisted has no type for all of a reactor.
def open_registrar(url: EngineURL, reactor: Any, token: Callable[[], str | None]) -> Registrar:
    """
    Return a registrar for the registry at *url*, whose scheme is one of `ANNOUNCED`.

    *token* returns the token that ``registry://`` asks for.
    """
    registrar = _loaded(*_REGISTRARS[url.scheme])
    made = registrar(url, reactor, token) if url.scheme == "registry" else registrar(url, reactor)
    return cast("Registrar", made)


def open_watch(url: EngineURL, reactor: Any) -> Watch:
    """Return the watch of the workers at *url*, which is not started."""
    return cast("Watch", _loaded(*_WATCHES[url.scheme])(url, reactor))


def _loaded(module: str, name: str) -> Any:  # Any: classes of several types
    return getattr(import_module(f"server.discovery.engines.{module}"), name)
