"""
`tensorferry haproxy-config`: write the configuration of an HAProxy before the workers.

Imports only click until it runs.
"""

import re
from collections.abc import Callable

import click

from scripts.haproxy_text import Balancer, configuration

#: The options that have them; those of the registry.
DEFAULT_DNS, DEFAULT_ZONE = "127.0.0.1:12482", "tensorferry.internal"

_ADDRESS = r"(?:[0-9.]+|\[[0-9A-Fa-f:.]+\])"
_NAME = r"[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*"

Callback = Callable[[click.Context, click.Parameter, str | None], str | None]


def _matching(pattern: str, expected: str, most: int = 253) -> Callback:
    """Return a callback of click that refuses what does not match *pattern* or is longer."""

    def check(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
        if value is not None and (len(value) > most or re.fullmatch(pattern, value) is None):
            raise click.BadParameter(f"expected {expected}, got {value!r}")
        return value

    return check


def _each(check: Callback) -> Callable[..., tuple[str, ...]]:
    """Return a callback for an option that is repeated."""

    def check_all(
        ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]
    ) -> tuple[str, ...]:
        for value in values:
            check(ctx, parameter, value)
        return values

    return check_all


@click.command("haproxy-config", context_settings={"show_default": True})
@click.option(
    "--dns",
    multiple=True,
    default=(DEFAULT_DNS,),
    metavar="ADDRESS:PORT",
    callback=_each(_matching(rf"{_ADDRESS}:[0-9]{{1,5}}", "an IP address and a port")),
    help="The --dns-listen of the registry; repeat it for several registries.",
)
@click.option(
    "--zone",
    default=DEFAULT_ZONE,
    metavar="NAME",
    callback=_matching(_NAME, "a domain name", 150),
    help="The --zone of the registry.",
)
@click.option(
    "--model",
    metavar="NAME",
    callback=_matching(_NAME, "a name of letters, digits, '_', '-' and '.'", 60),
    help="Use only the workers that serve this model.  [default: all workers]",
)
@click.option(
    "--workers-max",
    "slots",
    type=click.IntRange(1, 1000),
    default=32,
    metavar="N",
    help="The most workers, with those that were removed in the last 30 seconds.",
)
@click.option(
    "--bind",
    default=":8080",
    metavar="[ADDRESS]:PORT",
    callback=_matching(rf"(?:{_ADDRESS}|\*)?:[0-9]{{1,5}}", "[ADDRESS]:PORT"),
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
    callback=_matching(r"/[A-Za-z0-9._/-]+", "an absolute path without spaces"),
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
