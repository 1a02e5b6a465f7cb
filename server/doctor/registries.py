"""
Check whether the registry of ``--announce`` accepts connections.
"""

from dataclasses import dataclass, field

from server.discovery.engine_url import join_host_port, parse_engine_url
from server.doctor.finding import Finding, ok, warning
from server.doctor.machine import Machine

ANNOUNCE = "announce"


@dataclass(frozen=True, slots=True)
class RegistryFacts:
    """The hosts of the registry, and those that cannot be reached."""

    url: str  #: without user and password
    hosts: int
    failures: dict[str, str] = field(default_factory=dict)  #: reasons, by HOST:PORT


def read_registry(machine: Machine, announce: str) -> RegistryFacts:
    """Connect to each host of the URL *announce*; takes a second for each that does not answer."""
    url = parse_engine_url(announce)
    failures = {}
    for host, port in url.hosts:
        try:
            machine.connect(host, port)
        except OSError as error:
            failures[join_host_port(host, port)] = error.strerror or str(error)
    return RegistryFacts(str(url), len(url.hosts), failures)


def check_registry(facts: RegistryFacts | None) -> Finding:
    """Decide whether the server could register itself; *facts* are None without a registry."""
    if facts is None:
        return ok(ANNOUNCE, "not asked for")
    if not facts.failures:
        return ok(ANNOUNCE, facts.url)
    reasons = ", ".join(f"{host}: {reason}" for host, reason in facts.failures.items())
    return warning(
        ANNOUNCE,
        f"{len(facts.failures)} of {facts.hosts} hosts cannot be reached: {reasons}",
        "start the registry, or correct --announce; a server serves without it and tries again",
    )
