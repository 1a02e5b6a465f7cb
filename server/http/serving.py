"""
The connections and the site of a server, as its settings state them.

Imports Klein, which installs a reactor: import this module after the reactor is chosen.  Everything
here runs on the reactor thread.
"""

import resource
from collections.abc import Callable
from math import inf

from twisted.internet.interfaces import IReactorTime

from server.http.access import AccessLog
from server.http.connection_limits import ConnectionLimits, connections_for
from server.http.connections import Connections
from server.http.cors import Cors
from server.http.klein_frontend import KleinFrontend
from server.http.limits import BodyLimits
from server.http.request_head import HeadLimits
from server.http.router import Router
from server.http.site import HTTPSite
from server.settings.http_settings import HTTPSettings
from server.settings.table import Settings


def connection_limits(settings: HTTPSettings) -> ConnectionLimits:
    """Return the limits of connections, those of the process included."""
    most = settings.max_connections
    if most is None:
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = connections_for(inf if descriptors == resource.RLIM_INFINITY else descriptors)
    return ConnectionLimits(
        header_timeout=settings.header_timeout,
        client_timeout=settings.client_timeout,
        keep_alive_timeout=settings.keep_alive_timeout,
        max_connections=most,
        max_in_flight=settings.max_requests_in_flight,
        max_requests=settings.max_connection_requests,
        max_age=settings.max_connection_age,
    )


def server_connections(
    settings: Settings,
    clock: IReactorTime,
    access_log: AccessLog | None,
    draining: Callable[[], bool],
) -> Connections:
    """Return the connections of a server; see `Connections` for the rest of the arguments."""
    limits = BodyLimits(
        # A body larger than the limit of all bodies together could never be held.
        max_body=min(settings.max_body_bytes, settings.max_queue_bytes),
        max_held=settings.max_queue_bytes,
    )
    return Connections(
        limits=limits,
        connection_limits=connection_limits(settings),
        clock=clock,
        access_log=access_log,
        draining=draining,
        cors=Cors(settings.cors_origins) if settings.cors_origins else None,
    )


def site_for(settings: HTTPSettings, router: Router, connections: Connections) -> HTTPSite:
    """Return the site whose requests the front end of *settings* answers."""
    return HTTPSite(
        router,
        connections,
        KleinFrontend(router).answer,
        by_routes=settings.front_end == "express",
        head_limits=HeadLimits(
            line=settings.max_request_line_bytes,
            fields_bytes=settings.max_header_bytes,
            fields=settings.max_header_fields,
        ),
    )
