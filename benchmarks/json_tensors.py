"""
`python -m benchmarks.json_tensors`: the CPU that JSON tensors take, relative to orjson and numpy.

Reading is compared with `np.array(orjson.loads(body)["x"], dtype)`, which checks no value, and
writing with `orjson.dumps`.  Both ways are measured in each round, one directly after the other, in
the CPU time of their thread.  Then each way runs once beside a thread that sleeps for short times:
the longest delay of that thread shows how long the interpreter lock is held, and how soon the
machine runs a thread that is ready.  There is no server.
"""

import gc
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import exp, log
from pathlib import Path
from statistics import fmean, stdev
from time import monotonic, sleep, thread_time
from typing import Any

import click
import numpy as np
import orjson

from benchmarks.kept import Kept, json_option, stamped, write
from benchmarks.tables import table
from model.signature import TensorSpec
from server.api.json_tensors import array_of
from server.api.json_text import read_json, write_json

#: CPU time of one measurement, in seconds; a way that takes less is repeated.
LEAST = 0.01

#: Seconds that the thread beside a measurement sleeps at a time.
NAP = 0.0005

NUMPY = orjson.OPT_SERIALIZE_NUMPY


@dataclass(frozen=True, slots=True)
class Case:
    """Two ways to read or to write the same tensor."""

    name: str
    size: int  #: bytes of JSON
    plain: Callable[[], object]  #: by orjson and numpy
    ours: Callable[[], object]


def reading(name: str, array: np.ndarray) -> Case:
    """Return the case of reading *array*, which has the dtype of the input."""
    body = orjson.dumps({"x": array}, option=NUMPY)
    spec = TensorSpec("x", array.dtype, None)
    return Case(
        f"read {name}", len(body), partial(_plainly, body, spec), partial(_with_checks, body, spec)
    )


def _plainly(body: bytes, spec: TensorSpec) -> np.ndarray:
    return np.array(orjson.loads(body)["x"], spec.dtype)


def _with_checks(body: bytes, spec: TensorSpec) -> np.ndarray:
    content = read_json(body)
    assert isinstance(content, dict)  # noqa: S101 - for the types
    return array_of(spec, content["x"])


def writing(name: str, array: np.ndarray) -> Case:
    """Return the case of writing *array*."""
    content = {"x": array}
    plain = partial(orjson.dumps, content, option=NUMPY)
    return Case(f"write {name}", len(plain()), plain, partial(write_json, content))


def cases() -> list[Case]:
    """Return all cases, with the same random numbers each time."""
    random = np.random.default_rng(0)

    def floats(*shape: int) -> np.ndarray:
        return random.random(shape, dtype=np.float32)

    return [
        reading("30 numbers", floats(1, 30)),
        reading("224 x 224 x 3 floats", floats(1, 224, 224, 3)),
        reading("224 x 224 x 3 bytes", random.integers(0, 256, (1, 224, 224, 3), np.uint8)),
        reading("150,528 floats, flat", floats(150_528)),
        reading("8 x 224 x 224 x 3 floats", floats(8, 224, 224, 3)),
        writing("10 numbers", floats(1, 10)),
        writing("1,000 x 1,000 floats", floats(1000, 1000)),
    ]


def milliseconds(
    work: Callable[[], object], times: int, cpu: Callable[[], float] = thread_time
) -> float:
    """
    Return the CPU time of *work* in milliseconds: the mean over *times* calls.

    *cpu* returns the CPU seconds that the thread has used so far.
    """
    gc.collect()  # earlier garbage is no cost of this work
    before = cpu()
    for _ in range(times):
        work()
    return (cpu() - before) / times * 1e3


def longest_delay(work: Callable[[], object]) -> float:
    """Return the longest delay of another thread while *work* runs once, in milliseconds."""
    delays: list[float] = []
    done = threading.Event()

    def nap() -> None:
        while not done.is_set():
            began = monotonic()
            sleep(NAP)
            delays.append(monotonic() - began - NAP)

    thread = threading.Thread(target=nap)
    thread.start()
    try:
        work()
    finally:
        done.set()
        thread.join()
    return max(delays, default=0.0) * 1e3


def measure(chosen: Sequence[Case], rounds: int, cpu: Callable[[], float] = thread_time) -> Kept:
    """
    Measure both ways of each of *chosen* in each of *rounds* rounds, in a changing order.

    Return for each case its `bytes`, and with a figure for each round: `plain_ms` and `ours_ms`,
    the CPU time of each way; `plain_delay_ms` and `ours_delay_ms`, the longest delay of another
    thread.
    """
    kept: dict[str, dict[str, Any]] = {}
    for case in chosen:
        ways = {"plain": case.plain, "ours": case.ours}
        figures: dict[str, list[float]] = {
            f"{way}_{what}": [] for what in ("ms", "delay_ms") for way in ways
        }
        times = max(1, round(LEAST * 1e3 / max(milliseconds(case.plain, 1, cpu), 1e-3)))
        for number in range(rounds):
            order = list(ways) if number % 2 else list(reversed(ways))
            for way in order:
                figures[f"{way}_ms"].append(round(milliseconds(ways[way], times, cpu), 5))
            for way in order:
                figures[f"{way}_delay_ms"].append(round(longest_delay(ways[way]), 2))
        kept[case.name] = {"bytes": case.size, **figures}
    return {"cases": kept}


def ratio_of(figures: Kept) -> tuple[float, float]:
    """
    Return the CPU of our way divided by that of the plain one, and the standard error of that.

    The geometric mean over the rounds of *figures*; the error is 0 for one round.
    """
    pairs = zip(figures["ours_ms"], figures["plain_ms"], strict=True)
    logs = [log(ours / plain) for ours, plain in pairs]
    ratio = exp(fmean(logs))
    return ratio, ratio * stdev(logs) / len(logs) ** 0.5 if len(logs) > 1 else 0.0


def report(kept: Kept) -> str:
    """Return a table of *kept*: medians over the rounds, and the ratio with its error."""
    rows = []
    for name, figures in kept["cases"].items():
        ratio, error = ratio_of(figures)
        medians = {key: each for key, each in figures.items() if key.endswith("_ms")}
        rows.append(
            {"case": name, "bytes": figures["bytes"], "ratio": ratio, "error": error} | medians
        )
    return table(rows)


@click.command()
@click.option("--rounds", default=25, show_default=True, help="Rounds; each measures both ways.")
@json_option
def main(rounds: int, file: Path | None) -> None:
    """Measure the CPU of reading and writing JSON tensors, relative to orjson and numpy."""
    figures = stamped("json_tensors", measure(cases(), rounds))
    click.echo(report(figures))
    if file is not None:
        write(file, figures)


if __name__ == "__main__":
    main()
