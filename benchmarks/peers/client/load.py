"""
Generate load over keep-alive connections, and print one JSON object with the figures.

load.py URL HEADERS BODY closed CONNECTIONS SECONDS
    Each connection sends its next request when it has its answer.  The load begins with a warm-up;
    the rate counts from the last answer before the end of the warm-up to the last answer, so that
    whole batches count.
load.py URL HEADERS BODY open RATE SECONDS SLO_MS SEED
    Poisson arrivals at a fixed mean rate, whatever the server does.  A latency counts from when the
    request was due; it is infinite without an answer.  Refusals are counted separately.

Runs in the client's virtualenv.
"""

import asyncio
import collections
import json
import random
import sys
import time
import urllib.parse
from math import inf
from pathlib import Path
from typing import Any, cast

import httptools
import uvloop

LIMIT = 60.0  # seconds for one request in a closed loop
DRAIN = 10.0  # seconds that an open loop waits for the last answers
MAX_CONNECTIONS = 2000
REFUSALS = (408, 429, 503, 504)  # in an open loop: neither good answers nor errors

Status = int | str  # of HTTP, 0 for a broken connection, or the name of an error


class Connection(asyncio.Protocol):
    """A connection to the server; `ask` sends one request at a time."""

    transport: asyncio.Transport
    parser: httptools.HttpResponseParser
    answered: asyncio.Future[int] | None = None
    open = False
    status = 0
    headed = False  # whether the head of the answer is complete
    sized = False  # whether the head states where the body ends

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called when the connection is made."""
        self.transport, self.open = cast("asyncio.Transport", transport), True

    def connection_lost(self, exc: Exception | None) -> None:
        """Called when the connection has ended, which completes an answer without a length."""
        self.open = False
        self.finish(self.status if self.answered and self.headed and not self.sized else 0)

    def ask(self, request: bytes) -> asyncio.Future[int]:
        """Send *request*; the future returns the HTTP status, 0 if the connection breaks."""
        self.parser = httptools.HttpResponseParser(self)
        self.status, self.headed, self.sized = 0, False, False
        self.answered = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self.answered

    def data_received(self, data: bytes) -> None:
        """Called when a part of an answer arrives."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.transport.abort()

    def on_header(self, name: bytes, _value: bytes) -> None:
        """
        Called by the parser for each header: note whether it determines the length of the body.
        """
        self.sized |= name.lower() in (b"content-length", b"transfer-encoding")

    def on_headers_complete(self) -> None:
        """Called by the parser at the end of the head: keep the status."""
        self.headed, self.status = True, self.parser.get_status_code()

    def on_message_complete(self) -> None:
        """Called by the parser at the end of an answer: finish, unless the status is 1xx."""
        if self.status >= 200:
            if not self.parser.should_keep_alive():
                self.open = False
                self.transport.close()
            self.finish(self.status)

    def finish(self, status: int) -> None:
        """Set *status* as the result of the future of `ask`, unless the future has a result."""
        if self.answered and not self.answered.done():
            self.answered.set_result(status)


def percentile(ordered: list[float], share: float) -> float | None:
    """
    Return the percentile *share* (0 to 1) of *ordered*, which is ascending; None if it is empty.
    """
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None


def milliseconds(seconds: float | None) -> float | None:
    """Return *seconds* in milliseconds; None if *seconds* is infinite or None."""
    return None if seconds is None or seconds == inf else round(seconds * 1e3, 2)


class Load:
    """Sends one request repeatedly to one URL."""

    def __init__(self, url: str, headers: str, body: str) -> None:
        parts = urllib.parse.urlsplit(url)
        self.host, self.port = parts.hostname or "", parts.port or 80
        lines = Path(headers).read_text().strip().splitlines()
        content = Path(body).read_bytes()
        head = [
            f"POST {parts.path} HTTP/1.1", f"Host: {parts.netloc}", *lines,
            f"Content-Length: {len(content)}", "", "",
        ]  # fmt: skip
        self.request = "\r\n".join(head).encode() + content
        self.statuses: collections.Counter[Status] = collections.Counter()

    async def connect(self) -> Connection:
        """Return a new connection."""
        loop = asyncio.get_running_loop()
        return (await loop.create_connection(Connection, self.host, self.port))[1]

    async def closed(self, connections: int, seconds: float) -> dict[str, Any]:
        """
        Run a closed loop with this number of *connections*, and return its figures.

        Requests are sent during a warm-up and then for *seconds*; the warm-up is not counted.
        """
        warm = min(3.0, seconds / 3)
        start = time.perf_counter()
        end = start + warm + seconds
        answers: list[tuple[float, float]] = []  # the time of the answer, the latency

        async def one() -> None:
            connection = None
            while time.perf_counter() < end:
                sent = time.perf_counter()
                try:
                    if connection is None or not connection.open:
                        connection = await self.connect()
                    status = await asyncio.wait_for(connection.ask(self.request), LIMIT)
                except (TimeoutError, OSError) as error:
                    self.statuses[type(error).__name__] += 1
                    connection = None
                    await asyncio.sleep(0.05)
                    continue
                self.statuses[status] += 1
                if status == 200:
                    answers.append((time.perf_counter(), time.perf_counter() - sent))

        tasks = [asyncio.ensure_future(one()) for _ in range(connections)]
        await asyncio.sleep(end - time.perf_counter())
        counted = [answer for answer in answers if answer[0] <= end]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        first = max((at for at, _ in counted if at <= start + warm), default=start + warm)
        latencies = sorted(latency for at, latency in counted if at > first)
        last = max((at for at, _ in counted), default=first)
        return {
            "rate": round(len(latencies) / (last - first), 2) if last > first else 0.0,
            "answered": len(counted),
            "p50": milliseconds(percentile(latencies, 0.5)),
            "p99": milliseconds(percentile(latencies, 0.99)),
        }

    async def open(self, rate: float, seconds: float, slo: float, seed: int) -> dict[str, Any]:
        """
        Send Poisson arrivals at *rate* requests a second for *seconds*, and return the figures.

        *slo* is in milliseconds; *seed* determines the arrivals.
        """
        due = arrivals(rate, seconds, seed)
        start = time.perf_counter()
        free: list[Connection] = []
        room = asyncio.Semaphore(MAX_CONNECTIONS)
        latencies: list[float] = []
        refused: list[float] = []
        lags: list[float] = []

        async def one(intended: float) -> None:
            async with room:
                connection: Connection | None = None
                status: Status
                try:
                    while free and (connection is None or not connection.open):
                        connection = free.pop()
                    if connection is None or not connection.open:
                        connection = await self.connect()
                    lags.append(time.perf_counter() - intended)
                    status = await connection.ask(self.request)
                except OSError as error:
                    status = type(error).__name__
                self.statuses[status] += 1
                took = time.perf_counter() - intended
                if status in REFUSALS:
                    refused.append(took)
                else:
                    latencies.append(took if status == 200 else inf)
                if connection is not None and connection.open:
                    free.append(connection)

        tasks = []
        for at in due:
            wait = start + at - time.perf_counter()
            if wait > 0:
                await asyncio.sleep(wait)
            tasks.append(asyncio.ensure_future(one(start + at)))
        _, pending = await asyncio.wait(tasks, timeout=DRAIN)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        self.statuses["unanswered"] += len(pending)
        unanswered = len(due) - len(latencies) - len(refused)
        latencies = sorted([*latencies, *[inf] * unanswered])
        return {
            "offered": round(len(due) / seconds, 2),
            "sent": len(due),
            "goodput": round(sum(each <= slo / 1e3 for each in latencies) / seconds, 2),
            "answered": self.statuses[200],
            "p50": milliseconds(percentile(latencies, 0.5)),
            "p99": milliseconds(percentile(latencies, 0.99)),
            "refused": len(refused),
            "refused_p99": milliseconds(percentile(sorted(refused), 0.99)),
            "send_lag_p99": milliseconds(percentile(sorted(lags), 0.99)),
        }


def arrivals(rate: float, seconds: float, seed: int) -> list[float]:
    """Return the times of Poisson arrivals at *rate* a second: ascending, below *seconds*."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    due = []
    at = chance.expovariate(rate)
    while at < seconds:
        due.append(at)
        at += chance.expovariate(rate)
    return due


async def main(url: str, headers: str, body: str, mode: str, *numbers: str) -> None:
    """Run one load and print its figures."""
    load = Load(url, headers, body)
    if mode == "closed":
        result = await load.closed(int(numbers[0]), float(numbers[1]))
    else:
        rate, seconds, slo = map(float, numbers[:3])
        result = await load.open(rate, seconds, slo, int(numbers[3]))
    failed = sum(count for status, count in load.statuses.items() if status != 200)
    result["errors"] = failed - result.get("refused", 0)
    result["statuses"] = {str(status): count for status, count in load.statuses.items() if count}
    print("JSON " + json.dumps(result))


if __name__ == "__main__":
    uvloop.install()
    asyncio.run(main(*sys.argv[1:]))
