"""
The engines of registries, by the schemes of their URLs: the only module that names one.
"""

from collections.abc import Callable
from typing import Any

from server.discovery.engine import Registrar
from server.discovery.engine_url import EngineURL


def open_registrar(url: EngineURL, reactor: Any, token: Callable[[], str | None]) -> Registrar:
    """
    Return a registrar for the registry at *url*, whose scheme is one of `ANNOUNCED`.

    *token* returns the token that ``registry://`` asks for.  An engine is imported when it is used:
    each has a client library of its own.
    """
    from server.discovery.engines.registry import RegistryRegistrar  # noqa: PLC0415

    return RegistryRegistrar(url, reactor, token)
