"""
`python -m benchmarks.scalar`: a graph that takes one image, one at a time and in batches.

Both run in one process, turn about.  One at a time, threads call `Session.run` on the graph as it
came, as a server does that cannot batch it; in batches, the server's own parts run it, without
HTTP.  TensorFlow has one pair of thread pools a process and makes it for the first Session, so
both have those of the server: on a CPU a run keeps to one core and there is one for each lane,
which gives more images a second than the spreading of each run over all cores.
"""

import json
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import click
import numpy as np
from PIL import Image
from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred, ensureDeferred, gatherResults
from twisted.internet.task import deferLater, react
from twisted.internet.threads import deferToThread

from model.backends.tensorflow.default_model.scalar_graph import one_at_a_time
from model.backends.tensorflow.device import choose_device, quieten_tensorflow
from model.backends.tensorflow.session import SessionOptions
from model.backends.tensorflow.trials.probe_images import probe_pixels
from model.execution.cores import usable_cores
from model.execution.decode_pool import DecodePool
from model.images.layout import ImageLayout
from scripts.scalar_graph import write_scalar_graph
from server.clock import MonotonicTime
from server.inference import Inference
from server.model_host import ModelHost
from server.settings.table import Settings

reactor: Any = installed  # Any: no type says that it has timers and threads at once

ONE_AT_A_TIME = "one at a time"
IN_FLIGHT = (1, 8, 32, 64)
SETTLING = 1.0  #: seconds that a load runs before images are counted

FILE = click.Path(dir_okay=False, path_type=Path)
TELL = partial(click.echo, err=True)


@dataclass(slots=True)
class Tally:
    """The images that each client of a load has got answered, and whether they go on."""

    done: list[int]
    going: bool = True


@dataclass(frozen=True, slots=True)
class Load:
    """Clients that each ask for one image after the other."""

    name: str
    clients: int
    client: Callable[[Tally, int], Deferred[None]]  #: goes on until its tally says otherwise


def threads(count: int, run: Callable[[bytes], object], photos: Sequence[bytes]) -> Load:
    """Return *count* threads that call *run*."""

    def client(tally: Tally, number: int) -> None:
        for photo in islice(cycle(photos), number, None):
            if not tally.going:
                return
            run(photo)
            tally.done[number] += 1

    return Load(
        f"{ONE_AT_A_TIME}, threads: {count}", count, lambda *args: deferToThread(client, *args)
    )


def in_flight(
    name: str, count: int, ask: Callable[[bytes], Awaitable[object]], photos: Sequence[bytes]
) -> Load:
    """Return *count* clients on the reactor's thread."""

    async def client(tally: Tally, number: int) -> None:
        for photo in islice(cycle(photos), number, None):
            if not tally.going:
                return
            await ask(photo)
            tally.done[number] += 1

    return Load(f"{name}, in flight: {count}", count, lambda *args: ensureDeferred(client(*args)))


async def rate(load: Load, seconds: float) -> float:
    """Return how many images a second *load* gets answered, over *seconds*."""
    tally = Tally([0] * load.clients)
    clients = gatherResults([load.client(tally, number) for number in range(load.clients)])
    await deferLater(reactor, SETTLING)
    before, began = sum(tally.done), perf_counter()
    await deferLater(reactor, seconds)
    images, took = sum(tally.done) - before, perf_counter() - began
    tally.going = False
    await clients
    return images / took


def made_photos() -> list[bytes]:
    """Return JPEG files of 600 x 400 and 224 x 224 pixels, in turn."""
    layouts = (ImageLayout(None, 400, 600, 3), ImageLayout(None, 224, 224, 3))
    sizes = [probe_pixels(layout, np.uint8)["pixels"] for layout in layouts]
    files = []
    for pixels in (each for pair in zip(*sizes, strict=True) for each in pair):
        file = BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=85)
        files.append(file.getvalue())
    return files


def loads_of(
    run: Callable[[bytes], object], inference: Inference, pool: DecodePool, photos: Sequence[bytes]
) -> list[Load]:
    """Return all that is measured: *run* one at a time, then the parts of the server."""
    feed = inference.model.image_input.feed  # type: ignore[union-attr]  # there are labels
    ask = partial(inference.classify, k=1)
    lanes = inference.model.batcher.stats().lanes
    return [
        *(threads(count, run, photos) for count in sorted({1, lanes, usable_cores()})),
        *(in_flight("batched", count, ask, photos) for count in IN_FLIGHT),
        in_flight("decoding alone", 2 * pool.threads, lambda it: pool.run(feed, it), photos),
    ]


async def rates_of(
    settings: Settings, graph: bytes, photos: Sequence[bytes], rounds: int, seconds: float
) -> dict[str, list[float]]:
    """Return the images a second of each load, one number a round."""
    device = choose_device("auto")
    options = SessionOptions(device, 1 if device.kind == "gpu" else usable_cores())
    reactor.suggestThreadPoolSize(max(10, usable_cores()))
    clock, call = MonotonicTime(reactor), reactor.callFromThread
    pool = DecodePool(call)
    host = ModelHost(settings, clock=clock, call_from_thread=call, pool=pool, on_progress=TELL)
    rates: dict[str, list[float]] = {}
    # Its Session comes first, and so makes the thread pools.
    with one_at_a_time(graph, options) as run:
        try:
            loads = loads_of(run, await host.start(), pool, photos)
            for number in range(1, rounds + 1):
                TELL(f"round {number} of {rounds}")
                for load in loads:
                    rates.setdefault(load.name, []).append(await rate(load, seconds))
        finally:
            await host.stop()
    return rates


def table(rates: dict[str, list[float]]) -> str:
    """Return *rates* as lines: the median, the least and the most, and how it compares."""
    medians = {name: median(each) for name, each in rates.items()}
    fastest = max(each for name, each in medians.items() if name.startswith(ONE_AT_A_TIME))
    lines = [f"{'images a second':28}{'median':>8}{'least':>8}{'most':>8}{'ratio':>8}"]
    for name, each in rates.items():
        numbers = (medians[name], min(each), max(each))
        columns = "".join(f"{number:8.1f}" for number in numbers)
        lines.append(f"{name:28}{columns}{medians[name] / fastest:8.2f}")
    return "\n".join([*lines, f"ratio: to the fastest {ONE_AT_A_TIME}, by medians"])


@click.command()
@click.option("--seconds", default=5.0, show_default=True, help="How long a load is measured.")
@click.option("--rounds", default=3, show_default=True, help="How often each load has its turn.")
@click.option("--photo", "files", multiple=True, type=FILE, help="Repeatable; else some are made.")
@click.option("--json", "json_file", type=FILE, help="A file for the numbers of each round.")
def main(seconds: float, rounds: int, files: tuple[Path, ...], json_file: Path | None) -> None:
    """Measure the default model as a graph of one image: images per second."""
    quieten_tensorflow("auto")
    photos = [file.read_bytes() for file in files] or made_photos()
    with TemporaryDirectory() as folder:
        graph, labels = write_scalar_graph(Path(folder))
        os.environ["XDG_CACHE_HOME"] = folder  # no run times of today for later starts
        settings = Settings(graph=graph, labels=labels)

        async def measure() -> None:
            rates = await rates_of(settings, graph.read_bytes(), photos, rounds, seconds)
            click.echo(table(rates))
            if json_file is not None:
                json_file.write_text(json.dumps({"seconds": seconds, "rates": rates}, indent=1))

        react(lambda _: ensureDeferred(measure()))


if __name__ == "__main__":
    main()
