"""
Send random and mutated bytes to a server, and ask it beside them, for some time.

    python -m tests.integration.fuzz_wire PORT --seconds 600 --seed 1

The server takes plain HTTP on this machine.  A good client asks ``GET /state``, or another path,
all the while; the program fails if it waits for more than a second, or gets another status.
"""

import socket
import time
from contextlib import closing, suppress
from http.client import HTTPConnection
from random import Random
from threading import Event, Thread

import click

from tests.wire_fuzz import fuzzed

#: The most seconds for which a client waits before it hangs up.
PATIENCE = 0.05


def send(port: int, random: Random) -> None:
    """Be a client that sends such bytes, reads what comes soon, and hangs up."""
    with closing(socket.create_connection(("127.0.0.1", port), 10)) as client:
        client.settimeout(PATIENCE * random.random())
        with suppress(OSError):  # the server may close at any byte
            for segment in fuzzed(random):
                client.sendall(segment)
                if random.random() < 0.5:
                    client.recv(1 << 16)
            while client.recv(1 << 16):
                pass


class GoodClient:
    """Asks again and again until it is stopped; has the times, in seconds, of its answers."""

    def __init__(self, port: int, path: str) -> None:
        self.times: list[float] = []
        self.problem = ""
        self._stopped = Event()
        self._connection = HTTPConnection("127.0.0.1", port, timeout=10)
        self._path = path
        self._thread = Thread(target=self._ask)
        self._thread.start()

    def _ask(self) -> None:
        while not self._stopped.wait(0.01):
            before = time.monotonic()
            try:
                self._connection.request("GET", self._path)
                answer = self._connection.getresponse()
                answer.read()
            except OSError as error:
                self.problem = repr(error)
                return
            self.times.append(time.monotonic() - before)
            if answer.status != 200:
                self.problem = f"status {answer.status}"

    def stop(self) -> None:
        """Ask no more; fails if it was not answered in normal time."""
        self._stopped.set()
        self._thread.join()
        self._connection.close()
        assert not self.problem, self.problem
        assert max(self.times) < 1.0, sorted(self.times)[-5:]


@click.command()
@click.argument("port", type=int)
@click.option("--path", default="/state", help="What the good client asks for.")
@click.option("--seconds", default=600.0, help="How long.")
@click.option("--seed", default=1, help="The seed of all bytes.")
def main(port: int, path: str, seconds: float, seed: int) -> None:
    """Send random and mutated bytes to the server at PORT."""
    good = GoodClient(port, path)
    random = Random(seed)  # noqa: S311  # the same bytes each time
    end, count = time.monotonic() + seconds, 0
    while time.monotonic() < end and not good.problem:
        send(port, random)
        count += 1
    good.stop()
    slowest = max(good.times)
    click.echo(f"seed {seed}: {count} clients; {len(good.times)} answers, {slowest:.3f} s at most")


if __name__ == "__main__":
    main()
