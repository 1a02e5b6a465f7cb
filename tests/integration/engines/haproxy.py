"""An HAProxy with the configuration of `tensorferry haproxy-config`, and what it reports."""

import csv
import socket
import subprocess
from collections.abc import Iterator, Mapping, Set
from contextlib import closing, contextmanager
from pathlib import Path

from click.testing import CliRunner

from scripts.cli import main
from tests.integration.engines.programs import needed
from tests.integration.servers import Server, free_port, started, wait_for


class HAProxy:
    """An HAProxy that runs."""

    def __init__(self, server: Server, port: int, stats: Path) -> None:
        self.server = server
        self.port = port
        self._stats = stats

    def states(self) -> Mapping[int, str]:
        """Return the states of the workers by port: "UP", "DOWN" and others."""
        rows = csv.DictReader(it.lstrip("# ") for it in self._report("show stat") if it.strip())
        workers = [it for it in rows if it["svname"].startswith("worker") and it["addr"]]
        return {int(it["addr"].rpartition(":")[2]): it["status"] for it in workers}

    @property
    def unanswered(self) -> int:
        """How many questions to the name server were not answered so far."""
        lines = self._report("show resolvers registry")
        counts = dict(it.split(":") for it in lines if it.startswith("  "))
        return int(counts["  sent"]) - int(counts["  valid"])

    def _report(self, command: str) -> list[str]:
        with closing(socket.socket(socket.AF_UNIX)) as connection:
            connection.connect(str(self._stats))
            connection.sendall(command.encode() + b"\n")
            with connection.makefile() as lines:
                return lines.readlines()

    @property
    def up(self) -> set[int]:
        """The ports of the workers that take requests."""
        return {port for port, state in self.states().items() if state.startswith("UP")}

    def wait_for_workers(self, ports: Set[int], seconds: float = 20) -> None:
        """Wait until exactly the workers at *ports* take requests."""
        wait_for(lambda: self.up == ports, f"workers {ports} in HAProxy", seconds)


def haproxy_text(*options: str) -> str:
    """Return the configuration that the command prints."""
    result = CliRunner().invoke(main, ["haproxy-config", *options])
    assert result.exit_code == 0, result.output
    return result.stdout


@contextmanager
def haproxy(folder: Path, dns_port: int, zone: str, *options: str) -> Iterator[HAProxy]:
    """Start an HAProxy on any free port, which asks the name server at *dns_port*."""
    folder.mkdir()
    port, stats = free_port(), folder / "stats"
    text = haproxy_text(
        f"--dns=127.0.0.1:{dns_port}", f"--zone={zone}", f"--bind=127.0.0.1:{port}",
        f"--stats-socket={stats}", *options,
    )  # fmt: skip
    file = folder / "haproxy.cfg"
    file.write_text(text)
    program = needed("haproxy")
    subprocess.run([program, "-c", "-f", str(file)], check=True)
    with started(cache_home=folder, folder=folder, command=(program, "-db", "-f", str(file))) as it:
        it.wait_for(stats.exists, "socket of HAProxy")
        yield HAProxy(it, port, stats)
