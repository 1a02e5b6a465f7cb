"""
`tensorferry registry`: the process that lists the workers and chooses one for each request.

Imports only click and the table of settings until the command runs, so that --help is fast.
"""

import sys

import click

from server.registry.click_options import registry_options
from server.registry.settings import RegistrySettings


@click.command()
@registry_options
def registry(settings: RegistrySettings) -> None:
    """
    List workers, and choose one for each request: `curl localhost:12480` prints its port.

    Workers register with `tensorferry serve --announce registry://localhost:12480`; those that
    ZooKeeper, etcd or the DNS lists are added with --engine.
    """
    from server.process.run_registry import run_registry  # noqa: PLC0415 - imports Klein

    sys.exit(run_registry(settings))
