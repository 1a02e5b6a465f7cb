"""
The registries of workers by the scheme of their URL: the only module that names each of them.

Imports the module of an engine when it is used.
"""

from importlib import import_module
from typing import Any, cast

from server.discovery.engine import Watch
from server.discovery.engine_url import EngineURL

_WATCHES = {
    "zk": ("zookeeper", "ZooKeeperWatch"),
    "etcd": ("etcd", "EtcdWatch"),
    "srv": ("srv", "SRVWatch"),
}


def open_watch(url: EngineURL, reactor: Any) -> Watch:  # Any: Twisted has no type for all of it
    """Return the watch of the workers at *url*, which is not started."""
    module, name = _WATCHES[url.scheme]
    watch = getattr(import_module(f"server.discovery.engines.{module}"), name)
    return cast("Watch", watch(url, reactor))
