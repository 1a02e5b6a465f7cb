"""
The configuration of an HAProxy that follows the workers of a registry.

Pure.  Times are seconds.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Balancer:
    """What the configuration depends on; the texts have no spaces."""

    dns: Sequence[str]  #: the name servers, each ``ADDRESS:PORT``
    zone: str
    model: str | None  #: only its workers are used; None: all workers
    slots: int  #: the most workers
    bind: str  #: the address of HAProxy itself, ``ADDRESS:PORT`` or ``:PORT``
    timeout: int  #: seconds that a worker may take for its answer
    stats_socket: str | None  #: the path of a socket for reports; None: no such socket

    @property
    def service(self) -> str:
        """The name of the SRV records."""
        service = f"_tensorferry._tcp.{self.zone}"
        return service if self.model is None else f"_{self.model}.{service}"


def configuration(balancer: Balancer) -> str:
    """Return the text of the file."""
    servers = "\n    ".join(
        f"nameserver registry{number} tcp@{address}"
        for number, address in enumerate(balancer.dns, 1)
    )
    socket = balancer.stats_socket
    stats = f"\n    stats socket {socket} mode 600 level operator" if socket else ""
    return _TEXT.format(
        service=balancer.service,
        nameservers=servers,
        stats=stats,
        timeout=balancer.timeout,
        bind=balancer.bind,
        errors="\n    ".join(_error(*it) for it in _ERRORS),
        slots=balancer.slots,
    )


#: The answers of HAProxy itself: status, message, and a field.
_ERRORS = (
    (502, "the worker ended before it answered", ""),
    (503, "no worker takes requests now", " hdr Retry-After 1"),
    (504, "the worker did not answer in time", ""),
)


def _error(status: int, message: str, header: str) -> str:
    body = json.dumps({"error": message, "status": status})
    return f"http-error status {status} content-type application/json string '{body}'{header}"


_TEXT = """\
# For HAProxy 2.6 or newer, written by `tensorferry haproxy-config`.  Check it with `haproxy -c -f`.
# The workers come and go by DNS: HAProxy needs no reload for them.

global
    # Changes of the workers' states; not each request.
    log stderr format raw daemon notice{stats}

resolvers registry
    # Over TCP an answer has all workers; of a truncated one over UDP, HAProxy uses what fits.
    {nameservers}
    accepted_payload_size 65535
    resolve_retries 2
    timeout resolve 1s
    timeout retry 1s
    # While the registry is away, or has just started and has no worker yet, the workers stay, and
    # the health checks decide.  A worker that was removed frees its slot after "hold obsolete".
    hold timeout 1h
    hold refused 1h
    hold other 1h
    hold nx 30s
    hold obsolete 30s

defaults
    mode http
    log global
    timeout connect 1s
    timeout check 1s
    timeout http-request 10s
    timeout http-keep-alive 60s
    # A worker refuses a request that it cannot answer in time, so these end only what is lost.  Let
    # them be longer than any X-Request-Timeout-Ms of the clients.
    timeout client {timeout}s
    timeout server {timeout}s
    # Bodies are passed on while they arrive: HAProxy never holds a whole image.
    no option http-buffer-request

frontend clients
    bind {bind}
    default_backend workers
    # The log of a worker shows the address of HAProxy; this field has that of the client.
    option forwardfor
    {errors}

backend workers
    # Workers differ in how much they have to do, and a batch takes its requests together.
    balance leastconn
    # A request is sent to another worker only if it was not sent before: if no connection was made.
    # One that was sent may have run: if its worker dies, it gets 502, or its connection is closed.
    retries 3
    retry-on conn-failure
    option redispatch 1
    # The first request of a client has a new connection to its worker, which cannot be closing.
    http-reuse safe
    # A worker that is starting, draining or unhealthy answers 503.
    option httpchk
    http-check send meth GET uri /readyz
    http-check expect status 200
    # A killed worker is in the DNS until its lease ends.  After a refused connection the next
    # checks follow at once, and two that fail take the worker out.
    default-server check inter 1s fastinter 100ms downinter 1s fall 2 rise 1
    default-server observe layer4 error-limit 1 on-error fastinter
    default-server resolvers registry resolve-prefer ipv4 init-addr none
    server-template worker 1-{slots} {service}
"""
