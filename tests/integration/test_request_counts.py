"""Under load with faults, the counts of requests add up, and agree with those of the clients."""

import threading
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from math import inf
from pathlib import Path
from random import Random
from typing import cast, get_args
from urllib.request import urlopen

import numpy as np
import orjson
import pytest
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.defer import gatherResults
from twisted.internet.threads import deferToThread

from model.backend import LoadedModel, OnProgress
from model.repository.model_kind import ModelFiles
from model.signature import Arrays, Feed
from server.inference import Inference
from server.model_loading import load_model
from server.request_counts import Outcome, RequestCounts
from server.settings.table import Settings
from tests.fakes.numpy_backend import LinearModel, NumpyBackend
from tests.images import coloured, encoded
from tests.integration.clients import (
    form,
    open_socket,
    receive_answer,
    request_bytes,
    send_until_answered,
)
from tests.integration.repositories import with_manifest
from tests.integration.watched import WatchedRunner, WatchedServer, in_reactor

pytestmark = [pytest.mark.full, pytest.mark.usefixtures("surroundings")]

MODELS = ("cats", "dogs")
HEIGHT, WIDTH = 4, 5
IMAGE = encoded(coloured(50, 37), "PNG")
PIXELS = np.zeros((1, HEIGHT, WIDTH, 3), np.uint8).tolist()
ROWS = orjson.dumps({"instances": PIXELS})
V2_INPUT = {"name": "image", "shape": [1, HEIGHT, WIDTH, 3], "datatype": "UINT8", "data": PIXELS}
V2 = orjson.dumps({"inputs": [V2_INPUT]})

#: The models are so slow that requests of this many clients wait, and some are refused as late.
RUN_SECONDS, CLIENTS = 0.01, 10
MAX_BODY_BYTES, CLIENT_TIMEOUT = 100_000, 0.5
#: The connections before the new version is added, and those after it serves.
CONNECTIONS = 300

#: The outcome of a request whose client has read this status; each status has only one here.
OUTCOMES: Mapping[int, Outcome] = {
    200: "answered", 400: "failed", 408: "refused", 413: "refused", 429: "refused", 504: "expired",
}  # fmt: skip

#: Sends one request for the model of this name; returns the status, or None if it has hung up.
Request = Callable[[int, str, Random], int | None]


async def scraped(server: WatchedServer) -> Mapping[str, RequestCounts]:
    """Return the counts of each model, as `GET /metrics` reports them."""
    url = f"http://127.0.0.1:{server.port}/metrics"
    text = await deferToThread(lambda: urlopen(url, timeout=30).read().decode())
    counts: dict[str, RequestCounts] = defaultdict(RequestCounts)
    for sample in (it for family in text_string_to_metric_families(text) for it in family.samples):
        labels, value = sample.labels, int(sample.value)
        match sample.name:
            case "tensorferry_requests_total":
                counts[labels["model"]].received = value
            case "tensorferry_requests_ended_total":
                end = (cast("Outcome", labels["outcome"]), labels["cause"])
                counts[labels["model"]].ended[end] = value
            case "tensorferry_requests_in_progress":
                assert value == 0
    return counts


# --- models


class SlowRunner(WatchedRunner):
    """A runner whose runs take `RUN_SECONDS` longer."""

    def run(self, feed: Feed) -> Arrays:
        """Wait, then run."""
        time.sleep(RUN_SECONDS)
        return super().run(feed)


class FolderBackend(NumpyBackend):
    """Finds a linear model in a folder."""

    def find(self, path: Path) -> ModelFiles | None:
        """Return the file in the folder *path*."""
        return super().find(path / "model.npz")


def load(settings: Settings, on_progress: OnProgress, name: str, version: str) -> LoadedModel:
    """Load a linear model that is slow."""
    backends = [FolderBackend()]
    loaded = load_model(settings, on_progress, backends=backends, name=name, version=version)
    return replace(loaded, runner=SlowRunner(loaded.runner))


class Server(WatchedServer):
    """A server of a repository of linear models."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.service.reconciler.repository._load = load  # type: ignore[attr-defined]  # of its kind

    def _is_ready(self) -> None:
        self.ready.callback(None)


@asynccontextmanager
async def served(settings: Settings) -> AsyncIterator[Server]:
    """Yield a server that is ready, and stop it afterwards."""
    server = Server(settings)
    server.service.privilegedStartService()
    server.service.startService()
    try:
        await server.ready
        yield server
    finally:
        await server.service.stopService()


def write_version(folder: Path) -> None:
    """Write a version, complete at once when it is there."""
    folder.mkdir(parents=True)
    pixels = np.ones((HEIGHT, WIDTH, 3, 3), np.float32)
    LinearModel(pixels, np.ones((2, 3), np.float32)).save(folder / "model.npz")
    (folder / "labels.txt").write_text("red\ngreen\nblue")
    (folder / "model.toml").write_text('labels = "labels.txt"\n')
    with_manifest(folder)


# --- clients


def exchange(port: int, *parts: bytes, pause: float = 0.0) -> int:
    """Send *parts*, with *pause* seconds between them; return the status of the answer."""
    with open_socket(port) as raw:
        for number, part in enumerate(parts):
            if number:
                time.sleep(pause)
            raw.sendall(part)
        return receive_answer(raw, time.monotonic()).status


def in_two(data: bytes) -> tuple[bytes, bytes]:
    """Return the head with the first byte of the body, and the rest."""
    end = data.index(b"\r\n\r\n") + 5
    return data[:end], data[end:]


def native(model: str, body: bytes = IMAGE, **headers: str) -> bytes:
    """Return a request in the native dialect."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return request_bytes(body, path=f"/models/{model}", headers=named)


def images(model: str, *files: bytes) -> bytes:
    """Return a request with several images."""
    body, headers = form(*files)
    return request_bytes(body, path=f"/models/{model}", headers=headers)


def good(port: int, model: str, random: Random) -> int:
    """Send a request that can be answered, in any dialect."""
    requests = (
        native(model),
        request_bytes(IMAGE, path=f"/models/{model.replace('s', '%73')}"),
        images(model, IMAGE, b"no image", IMAGE),
        request_bytes(ROWS, path=f"/v1/models/{model}:predict"),
        request_bytes(ROWS, path=f"/%761/models/{model}:predict"),
        request_bytes(V2, path=f"/v2/models/{model}/infer"),
    )
    return exchange(port, random.choice(requests))


def paused(port: int, model: str, random: Random) -> int:
    """Send the body some time after the head."""
    return exchange(port, *in_two(native(model)), pause=random.uniform(0.0, 0.3))


def wrong(port: int, model: str, random: Random) -> int:
    """Send a request that nothing can answer."""
    chunked = (
        f"POST /models/{model} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
    )
    requests = (
        native(model, b"no image"),
        native(model, X_Request_Priority="highest"),
        images(model, b"no image", b"nor this"),
        request_bytes(b"{", path=f"/v1/models/{model}:predict"),
        request_bytes(b"{}", path=f"/v2/models/{model}/infer"),
        request_bytes(IMAGE, path=f"/models/{model}?k=%ff"),
        chunked.encode(),
    )
    return exchange(port, random.choice(requests))


def hurried(port: int, model: str, random: Random) -> int:
    """Send a request that has little time."""
    return exchange(port, native(model, X_Request_Timeout_Ms=str(random.randint(1, 60))))


def late(port: int, model: str, _: Random) -> int:
    """Send the body after the deadline."""
    return exchange(port, *in_two(native(model, X_Request_Timeout_Ms="30")), pause=0.05)


def too_large(port: int, model: str, random: Random) -> int:
    """Send a body that is too large, with its length or in chunks."""
    if random.random() < 0.5:
        head, _ = in_two(native(model, bytes(MAX_BODY_BYTES + 1)))
        return exchange(port, head)

    def parts() -> Iterator[bytes]:
        head = f"POST /models/{model} HTTP/1.1\r\nHost: a\r\n"
        yield f"{head}Transfer-Encoding: chunked\r\n\r\n".encode()
        while True:
            yield b"2710\r\n" + bytes(10_000) + b"\r\n"

    return send_until_answered(port, parts()).status


def slow(port: int, model: str, _: Random) -> int:
    """Send no more than the first byte of the body."""
    return exchange(port, in_two(native(model))[0])


def hang_up(port: int, model: str, random: Random) -> None:
    """Hang up at any moment after the head: in the body, or up to 0.1 s after it."""
    dialects = (
        native(model),
        images(model, *[IMAGE] * 4),
        request_bytes(ROWS, path=f"/v1/models/{model}:predict"),
        request_bytes(V2, path=f"/v2/models/{model}/infer"),
    )
    head, rest = in_two(random.choice(dialects))
    if random.random() < 0.3:
        rest = rest[: random.randrange(len(rest))]
    with open_socket(port) as raw:
        raw.sendall(head + rest)
        time.sleep(random.uniform(0.0, 0.1))


#: The kinds of requests; the more often a kind is named, the more of its requests are sent.
KINDS: Sequence[Request] = (
    *(good,) * 10, *(paused,) * 4, *(hang_up,) * 5, *(hurried,) * 3, *(wrong,) * 2,
    late, too_large, slow,
)  # fmt: skip


@dataclass
class Load:
    """What the clients send until `enough`, and how each request has ended for them."""

    port: int
    enough: threading.Event = field(default_factory=threading.Event)
    #: By model and status; the status of a request whose client has hung up is None.
    ends: Counter[tuple[str, int | None]] = field(default_factory=Counter)

    def send(self, seed: int) -> None:
        """Send one request after the other; called on a thread for each client."""
        random = Random(seed)  # noqa: S311 - to choose cases
        while not self.enough.is_set():
            model, kind = random.choice(MODELS), random.choice(KINDS)
            self.ends[model, kind(self.port, model, random)] += 1

    def outcomes(self, model: str) -> Counter[str]:
        """Return the outcomes that clients of *model* have read; "" for those that hung up."""
        outcomes: Counter[str] = Counter()
        for (name, status), count in self.ends.items():
            if name == model:
                outcomes["" if status is None else OUTCOMES[status]] += count
        return outcomes


@in_reactor
async def test_the_counts_add_up_for_each_model_and_with_those_of_the_clients(
    tmp_path: Path,
) -> None:
    """A version of one model is replaced meanwhile; its requests are counted with the others."""
    for model in MODELS:
        write_version(tmp_path / "models" / model / "1")
    settings = Settings(
        models=tmp_path / "models",
        listen=("tcp:0:interface=127.0.0.1",),
        max_batch_size=2,
        lanes=1,
        client_timeout=CLIENT_TIMEOUT,
        max_body_bytes=MAX_BODY_BYTES,
        poll_interval=0.2,
        drain_delay=0.0,
        run_timeout=inf,
    )
    async with served(settings) as server:
        models, connections = server.service.models, server.service.connections
        versions = [models.find(model) for model in MODELS]
        load = Load(server.port)
        clients = gatherResults([deferToThread(partial(load.send, it)) for it in range(CLIENTS)])

        async def more_connections() -> None:
            target = connections.accepted + CONNECTIONS
            await server.until(lambda: connections.accepted >= target, "further connections")

        try:
            await more_connections()
            write_version(tmp_path / "2")
            (tmp_path / "2").rename(tmp_path / "models" / "dogs" / "2")
            await server.until(lambda: models.find("dogs") not in versions, "new version")
            versions.append(models.find("dogs"))
            await more_connections()
        finally:
            load.enough.set()
            await clients
        sent = sum(load.ends.values())
        await server.until(lambda: connections.accepted == sent, "last connection")
        await server.until(
            lambda: not any(it.in_progress for it in models.requests.values()), "end of all"
        )
        counts = await scraped(server)
        for model in MODELS:
            check(
                counts[model],
                load.outcomes(model),
                [it for it in versions if it.model.name == model],
            )


def check(counts: RequestCounts, read: Counter[str], versions: Sequence[Inference]) -> None:
    """
    Check the *counts* of a model against the outcomes that its clients have *read*.

    Only a request whose client has hung up was cancelled; it may also have ended in another way.
    *versions* are all that have answered.
    """
    ended = dict.fromkeys(get_args(Outcome), 0)
    for (outcome, _), count in counts.ended.items():
        ended[outcome] += count
    assert counts.received == sum(ended.values()) == sum(read.values())
    hung_up = read.pop("")
    assert {*read} == {*ended} - {"cancelled"}, "each outcome is tried"
    unread = {outcome: ended[outcome] - read[outcome] for outcome in ended}
    assert min(unread.values()) >= 0, unread
    assert sum(unread.values()) == hung_up
    assert {("cancelled", "receive"), ("expired", "receive")} <= {*counts.ended}
    assert unread["failed"] == 0, "nothing is wrong with the requests of clients that hang up"
    assert sum(sum(it.phases.read()["whole"].counts) for it in versions) == ended["answered"]
