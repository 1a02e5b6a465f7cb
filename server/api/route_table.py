"""
The table of routes, for every front end.
"""

from twisted.internet.interfaces import IReactorTime

from model.execution.decode_pool import DecodePool
from server.api.coded_routes import CodedRoutes
from server.api.debug import DebugAPI
from server.api.description import DescriptionAPI
from server.api.dialect import Dialect
from server.api.health import HealthAPI
from server.api.inference_api import InferenceAPI
from server.api.kserve.kserve_api import KServeAPI
from server.api.metrics_api import MetricsAPI
from server.api.models_api import ModelsAPI, Permit
from server.api.openapi import native
from server.api.permit import PermitToken
from server.api.status import StatusAPI
from server.api.tfserving.api import TFServingAPI
from server.http.limits import BodyLimits
from server.http.messages import Route
from server.metrics.scrape import Scrapes
from server.models import Models
from server.repository.changes import RepositoryChanges
from server.workers.worker_reports import WorkerGroup


def route_table(
    models: Models,
    changes: RepositoryChanges,
    pool: DecodePool,
    dialect: Dialect,
    *,
    health: HealthAPI,
    scrapes: Scrapes,
    permit: Permit,
    clock: IReactorTime,
    limits: BodyLimits,
    group: WorkerGroup | None = None,
) -> tuple[Route, ...]:
    """
    Return all routes; *dialect* reads the bodies of native requests.

    *permit* decides which requests may change what is served; *limits* are those of all bodies.
    *group* knows the other workers, if there are several.
    """
    max_body = limits.max_body
    api = InferenceAPI(lambda _: models.find(), dialect, seconds=clock.seconds)
    models_api = ModelsAPI(models, changes, dialect, permit=permit, seconds=clock.seconds)
    tfserving = TFServingAPI(models, changes, pool, max_bytes=max_body, seconds=clock.seconds)
    kserve = KServeAPI(models, changes, health, permit=permit, clock=clock)
    status = StatusAPI(models.any, None if group is None else group.status)
    debug = DebugAPI(models.any, None if group is None else group.index)
    token = isinstance(permit, PermitToken)
    description = DescriptionAPI(models, lambda: routes, token=token, clock=clock)
    coded = CodedRoutes(pool, limits).coded
    routes = (
        *coded(*tfserving.routes()),
        *coded(
            Route(
                "POST",
                "/",
                api.predict,
                operations=native.PREDICT,
                preflight=api.preflight,
                write_error=api.write_error,
            )
        ),
        *coded(*models_api.routes(), description.route()),
        *coded(*kserve.routes(), reports=False),
        # Not by threads that may hang, since these report it.
        Route("GET", "/healthz", health.healthz, operations=native.HEALTHZ),
        Route("GET", "/readyz", health.readyz, operations=native.READYZ),
        Route("GET", "/status", status.status, operations=native.STATUS),
        Route("GET", "/debug/batcher", debug.batcher, operations=native.BATCHER),
        Route("GET", "/metrics", MetricsAPI(scrapes).metrics, operations=native.METRICS),
    )
    return routes
