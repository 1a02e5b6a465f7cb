"""
`python -m benchmarks.decode`: decode images on threads and in processes, turn about.

Alone, and in front of the default model; all in one process and without HTTP, with the server's
own parts.  Both ways lead through the reactor, as in the server, and a thread beside it tells for
how long either keeps it waiting.  Needs the extra `test`, for its photographs.
"""

import json
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from math import nan
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, Protocol

import click
import numpy as np
import numpy.typing as npt
from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred, ensureDeferred, gatherResults
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater, react

from benchmarks.decode_page import per_free_core, ratios
from benchmarks.decode_processes import DecodeProcesses
from benchmarks.decode_worker import MAX_PIXELS
from benchmarks.lateness import Ticker
from benchmarks.machine import machine_cpu_seconds, this_machine
from benchmarks.photos import large_photos, small_photos
from benchmarks.pixel_copies import copies
from benchmarks.scalar import SETTLING, Load, Tally, in_flight
from model.backends.tensorflow.default_model.source import DEFAULT_MODEL
from model.backends.tensorflow.device import quieten_tensorflow
from model.execution.cores import usable_cores
from model.execution.decode_pool import DecodePool
from model.images.decode import decode_image
from model.images.preprocessing import Preprocessing, Resample
from scripts.load.summary import percentile
from server.clock import MonotonicTime
from server.inference import ServedModel
from server.model_host import ModelHost
from server.settings.table import Settings

reactor: Any = installed  # Any: no type says that it has timers and threads at once

IN_FLIGHT = 16  #: enough that nobody idles: twice what the lanes and the workers of two cores hold
SMALL, LARGE = "224x224", "1920x1080"
SIDE = DEFAULT_MODEL.image_size
PREPROCESSING = Preprocessing(
    SIDE, SIDE, DEFAULT_MODEL.crop_fraction, Resample(DEFAULT_MODEL.resampling)
)

NOTE = """\
per core: images a second for each core that other programs left, or each worker where those are
fewer and no model runs; others: the cores that other programs took
ratio: of that, to the first line of the size, alone or with the model; median of each round's own
p50 to max: how late a thread woke up that wants the interpreter lock every millisecond"""

#: What is told of the lateness of all wake-ups: names, and the per cent that are no later.
LATENESS = {"p50": 50.0, "p99": 99.0, "max": 100.0}

FILE = click.Path(dir_okay=False, path_type=Path)
TELL = partial(click.echo, err=True)

Pixels = npt.NDArray[np.uint8]
Decode = Callable[[bytes], Deferred[Pixels]]
Run = Callable[[Pixels], Deferred[Any]]


class Ticks(Protocol):
    """The part of a `Ticker` that is used here."""

    def taken(self) -> Sequence[float]:
        """Return how late the wake-ups since the last call were, in seconds."""


@dataclass(frozen=True, slots=True)
class Arrangement:
    """A way to decode."""

    name: str
    workers: int
    decode: Decode
    children_cpu: Callable[[], float] = lambda: 0.0  #: seconds, of other processes
    switch_interval: float = 0.005  #: seconds after which a thread asks for the interpreter lock


@dataclass(frozen=True, slots=True)
class Reading:
    """What one load did while it was measured."""

    images_per_second: float
    cpu_seconds_per_1000: float  #: of this process and its children
    late: Sequence[float]  #: seconds, of each wake-up of the ticker
    own_cores: float  #: how many cores they kept busy
    others_cores: float  #: and how many other programs did


@dataclass(slots=True)
class Row:
    """All readings of one load."""

    size: str
    arrangement: str
    model: bool  #: whether it is run on what was decoded
    workers: int
    readings: list[Reading] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return the numbers of each round; the lateness of all rounds together."""
        late = np.sort(np.concatenate([reading.late for reading in self.readings]))
        return {
            "size": self.size,
            "arrangement": self.arrangement,
            "model": self.model,
            "workers": self.workers,
            "images_per_second": [round(it.images_per_second, 2) for it in self.readings],
            "cpu_seconds_per_1000": [round(it.cpu_seconds_per_1000, 3) for it in self.readings],
            **{f"late_{name}_ms": percentile(late, share) for name, share in LATENESS.items()},
            "own_cores": [round(it.own_cores, 3) for it in self.readings],
            "others_cores": [round(it.others_cores, 3) for it in self.readings],
        }


async def reading_of(
    clock: IReactorTime,
    load: Load,
    children_cpu: Callable[[], float],
    ticks: Ticks,
    seconds: float,
) -> Reading:
    """Run *load* and return what it does over *seconds*, once it has settled."""
    tally = Tally([0] * load.clients)
    clients = gatherResults([load.client(tally, number) for number in range(load.clients)])
    await deferLater(clock, SETTLING)

    def counters() -> tuple[float, float, float, int]:
        own = time.process_time() + children_cpu()
        return clock.seconds(), own, machine_cpu_seconds(), sum(tally.done)

    ticks.taken()
    before = counters()
    await deferLater(clock, seconds)
    after, late = counters(), ticks.taken()
    tally.going = False
    await clients
    took, own, busy, images = (b - a for a, b in zip(before, after, strict=True))
    rate, used = images / took, 1e3 * own / max(1, images)
    return Reading(rate, used, late, own / took, max(0.0, busy - own) / took)


def loads_of(arrangement: Arrangement, run: Run, photos: Sequence[bytes]) -> dict[bool, Load]:
    """Return decoding alone, and with a *run* of the model behind it, by whether there is one."""

    async def ask(photo: bytes) -> None:
        await run(await arrangement.decode(photo))

    asked = {False: arrangement.decode, True: ask}
    return {it: in_flight(arrangement.name, IN_FLIGHT, each, photos) for it, each in asked.items()}


def table(rows: Sequence[dict[str, Any]], cores: int) -> str:
    """Return *rows* as lines: medians of the rounds, and each to the first one of its kind."""
    head = ("images/s", "per core", "ratio", "cpu s/1000", "p50 ms", "p99 ms", "max ms", "others")
    lines = [f"{'':42}" + "".join(f"{each:>11}" for each in head)]
    for row, ratio in zip(rows, ratios(rows, cores), strict=True):
        columns = (
            median(row["images_per_second"]),
            median(per_free_core(row, cores)),
            nan if ratio is None else ratio,
            median(row["cpu_seconds_per_1000"]),
            *(row[f"late_{name}_ms"] for name in LATENESS),
            median(row["others_cores"]),
        )
        name = row["arrangement"] + (" + model" if row["model"] else "")
        numbers = "".join(f"{number:11.2f}" for number in columns)
        lines.append(f"{row['size']:10}{name:32}{numbers}")
    return "\n".join([*lines, NOTE])


async def measure(
    clock: IReactorTime,
    ticks: Ticks,
    arranged: Sequence[tuple[str, Arrangement]],
    run: Run,
    photos: Mapping[str, Sequence[bytes]],
    rounds: int,
    seconds: float,
) -> list[dict[str, Any]]:
    """Return a row for each size and arrangement, all of them measured once a round."""
    rows: dict[tuple[str, str, bool], Row] = {}
    usual = sys.getswitchinterval()
    try:
        for number in range(1, rounds + 1):
            TELL(f"round {number} of {rounds}")
            for size, arrangement in arranged:
                sys.setswitchinterval(arrangement.switch_interval)
                for model, load in loads_of(arrangement, run, photos[size]).items():
                    key = size, arrangement.name, model
                    row = rows.setdefault(key, Row(*key, arrangement.workers))
                    cpu = arrangement.children_cpu
                    row.readings.append(await reading_of(clock, load, cpu, ticks, seconds))
    finally:
        sys.setswitchinterval(usual)
    return [row.as_json() for row in rows.values()]


def on_threads(pool: DecodePool, preprocessing: Preprocessing = PREPROCESSING) -> Decode:
    """Return what decodes on the threads of *pool*."""
    decode = partial(decode_image, preprocessing=preprocessing, max_pixels=MAX_PIXELS)
    return lambda data: pool.run(decode, data)


def arrangements(
    counts: Sequence[int], pools: Sequence[DecodePool], processes: Sequence[DecodeProcesses]
) -> Iterator[tuple[str, Arrangement]]:
    """Yield what is measured, with the size of its images: threads and processes in turn."""
    for size in (SMALL, LARGE):
        for count, pool, children in zip(counts, pools, processes, strict=True):
            threads = Arrangement(f"{count} thread{'s'[: count > 1]}", count, on_threads(pool))
            yield size, threads
            name = f"{count} process{'es' if count > 1 else ''}"
            yield size, Arrangement(name, count, children.decode, children.cpu_seconds)
        yield size, replace(threads, name=f"{threads.name}, 0.5 ms", switch_interval=0.0005)
    shrinking = replace(PREPROCESSING, scaled_decode=True)
    yield LARGE, Arrangement(f"{threads.name}, scaled decode", count, on_threads(pool, shrinking))


def runs_of(model: ServedModel) -> Run:
    """Return what runs pixels through *model*, as `Inference` does."""
    signature = model.signatures[model.default]
    (spec,) = signature.inputs

    def run(pixels: Pixels) -> Deferred[Any]:
        feed = signature.feed({spec.name: pixels[np.newaxis]})
        return model.batcher.submit(feed, feed.rows, model.queues.of(feed))

    return run


@asynccontextmanager
async def running_model(clock: IReactorTime, settings: Settings) -> AsyncIterator[Run]:
    """Yield what runs pixels through the default model; its threads end behind it."""
    call = reactor.callFromThread
    host = ModelHost(
        settings, clock=clock, call_from_thread=call, pool=DecodePool(call), on_progress=TELL
    )
    try:
        yield runs_of((await host.start()).model)
    finally:
        await host.stop()


async def ended(pool: DecodePool) -> None:
    """Stop *pool*."""
    await pool.stop()


def conditions(rounds: int, seconds: float, lanes: int | None) -> dict[str, Any]:
    """Return under which conditions is measured, as they are written into a file."""
    return {
        "what": "decode",
        "rounds": rounds,
        "seconds": seconds,
        "machine": this_machine(),
        "cores": usable_cores(),
        "lanes": lanes or usable_cores(),
        "in_flight": IN_FLIGHT,
    }


async def numbers_of(rounds: int, seconds: float, lanes: int | None) -> dict[str, Any]:
    """Return all that is measured, as it is written into a file."""
    photos = {SMALL: small_photos(224, 224), LARGE: large_photos(1920, 1080)}
    largest = max(len(photo) for each in photos.values() for photo in each)
    counts = sorted({1, usable_cores()})
    clock = MonotonicTime(reactor)
    async with running_model(clock, Settings(lanes=lanes)) as run, AsyncExitStack() as stack:
        pools = [DecodePool(reactor.callFromThread, count) for count in counts]
        for pool in pools:
            pool.start()
            stack.push_async_callback(ended, pool)
        began = perf_counter()
        processes = [DecodeProcesses(reactor, it, PREPROCESSING, largest) for it in counts]
        started = (perf_counter() - began) / len(counts)
        for children in processes:
            stack.callback(children.stop)
        ticker = Ticker()
        ticker.start()
        stack.callback(ticker.stop)
        arranged = list(arrangements(counts, pools, processes))
        rows = await measure(clock, ticker, arranged, run, photos, rounds, seconds)
        memory = median(it.memory_mb() for each in processes for it in each.workers)
    return {
        **conditions(rounds, seconds, lanes),
        "file_bytes": {size: int(median(map(len, each))) for size, each in photos.items()},
        "process": {"start_seconds": round(started, 2), "memory_mb": round(memory, 1)},
        "copy_microseconds": {name: round(each, 1) for name, each in copies(SIDE).items()},
        "rows": rows,
    }


@click.command()
@click.option("--seconds", default=3.0, show_default=True, help="How long a load is measured.")
@click.option("--rounds", default=5, show_default=True, help="How often each load has its turn.")
@click.option("--lanes", type=int, help="Model threads; as many as cores unless told.")
@click.option("--json", "json_file", type=FILE, help="A file for the numbers of each round.")
def main(seconds: float, rounds: int, lanes: int | None, json_file: Path | None) -> None:
    """Measure how images are decoded best: on threads or in processes."""
    quieten_tensorflow("cpu")

    async def report() -> None:
        numbers = await numbers_of(rounds, seconds, lanes)
        click.echo(table(numbers["rows"], numbers["cores"]))
        click.echo(json.dumps({key: each for key, each in numbers.items() if key != "rows"}))
        if json_file is not None:
            json_file.write_text(json.dumps(numbers, indent=1) + "\n")

    react(lambda _: ensureDeferred(report()))


if __name__ == "__main__":
    main()
