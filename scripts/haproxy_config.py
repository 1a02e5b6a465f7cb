"""
`tensorferry haproxy-config`: write the configuration of an HAProxy before the workers.

Imports only click and the table of settings.
"""

import re
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

import click

from scripts.haproxy_text import Balancer, configuration
from server.registry.settings import DEFAULT_DNS_LISTEN, DEFAULT_ZONE, MAX_ZONE_BYTES

#: The most bytes of the name of a model, which is in one name of the DNS with that of the zone.
MAX_MODEL_BYTES = 110

#: Of labels that have room for the "_" before that of a model.
_NAME = re.compile(r"[A-Za-z0-9_-]{1,62}(?:\.[A-Za-z0-9_-]{1,62})*")
_PATH = re.compile(r"/[A-Za-z0-9._/-]+")


def _checked(is_right: Callable[[str], bool], expected: str) -> Callable[..., Any]:
    """
    Return a callback of click that refuses other values: each is a word of the configuration.

    Any: the value is a text, None, or for an option that is repeated a tuple of texts.
    """

    def check(_: click.Context, __: click.Parameter, given: Any) -> Any:  # Any: as above
        for value in given if isinstance(given, tuple) else (given,):
            if value is not None and not is_right(value):
                raise click.BadParameter(f"expected {expected}, got {value!r}")
        return given

    return check


def _is_place(text: str) -> bool:
    """Return whether *text* is ``ADDRESS:PORT``, with brackets around an IPv6 address."""
    host, _, port = text.rpartition(":")
    try:
        address = ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    in_brackets = host.startswith("[") and host.endswith("]")
    return in_brackets == (address.version == 6) and "%" not in host and _is_port(port)


def _is_own_place(text: str) -> bool:
    """Return whether *text* is ``ADDRESS:PORT`` or ``:PORT``."""
    return _is_port(text.removeprefix(":")) if text.startswith(":") else _is_place(text)


def _is_port(text: str) -> bool:
    return re.fullmatch(r"[0-9]{1,5}", text) is not None and 0 < int(text) < 65536


def _is_zone(text: str) -> bool:
    return len(text) <= MAX_ZONE_BYTES and _NAME.fullmatch(text) is not None


def _is_model(text: str) -> bool:
    return len(text) <= MAX_MODEL_BYTES and _NAME.fullmatch(text) is not None


def _is_path(text: str) -> bool:
    return _PATH.fullmatch(text) is not None


@click.command("haproxy-config", context_settings={"show_default": True})
@click.option(
    "--dns",
    multiple=True,
    default=(str(DEFAULT_DNS_LISTEN),),
    metavar="ADDRESS:PORT",
    callback=_checked(_is_place, "an IP address and a port"),
    help="The --dns-listen of the registry; repeat it for several registries, and for the name "
    "server of the network if workers register with host names.",
)
@click.option(
    "--zone",
    default=DEFAULT_ZONE,
    metavar="NAME",
    callback=_checked(_is_zone, "a domain name"),
    help="The --zone of the registry.",
)
@click.option(
    "--model",
    metavar="NAME",
    callback=_checked(_is_model, "a name of letters, digits, '_', '-' and '.'"),
    help="Use only the workers that serve this model.  [default: all workers]",
)
@click.option(
    "--workers-max",
    "slots",
    type=click.IntRange(1, 500),
    default=32,
    metavar="N",
    help="The most workers, with those that were removed in the last 30 seconds.",
)
@click.option(
    "--bind",
    default=":8080",
    metavar="[ADDRESS]:PORT",
    callback=_checked(_is_own_place, "[ADDRESS]:PORT"),
    help="Where HAProxy takes requests.",
)
@click.option(
    "--timeout",
    type=click.IntRange(1, 86_400),
    default=300,
    metavar="SECONDS",
    help="How long a worker may take for its answer.",
)
@click.option(
    "--stats-socket",
    metavar="PATH",
    callback=_checked(_is_path, "an absolute path without spaces"),
    help="A socket for `show stat`, which lists the workers and their states.",
)
def haproxy_config(
    dns: tuple[str, ...],
    zone: str,
    model: str | None,
    slots: int,
    bind: str,
    timeout: int,
    stats_socket: str | None,
) -> None:
    """
    Print the configuration of an HAProxy that follows the workers of a registry by DNS.

    HAProxy then takes the requests at one address, for any number of workers:
    `tensorferry haproxy-config > haproxy.cfg && haproxy -f haproxy.cfg`.
    """
    balancer = Balancer(dns, zone, model, slots, bind, timeout, stats_socket)
    click.echo(configuration(balancer), nl=False)
