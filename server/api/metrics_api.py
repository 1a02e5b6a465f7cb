"""
`GET /metrics`: the metrics of the server, for Prometheus.

Runs on the reactor thread.  Answers before a model is ready, and during a stop until the port is
closed.
"""

from twisted.internet.defer import Deferred

from server.http.messages import HTTPRequest, HTTPResponse
from server.metrics.scrape import Scrapes, form_of


class MetricsAPI:
    """Answers `GET /metrics`."""

    def __init__(self, scrapes: Scrapes) -> None:
        self._scrapes = scrapes

    def metrics(self, request: HTTPRequest) -> Deferred[HTTPResponse]:
        """
        Answer with all metrics, in the text format of Prometheus.

        In that of OpenMetrics if the header Accept names it, and in gzip if Accept-Encoding does.
        """
        headers = request.headers
        form = form_of(headers.get("accept", ""), headers.get("accept-encoding", ""))
        answer = self._scrapes.text(form)
        return answer.addCallback(
            lambda text: HTTPResponse(200, text, form.fields, content_type=form.content_type)
        )
