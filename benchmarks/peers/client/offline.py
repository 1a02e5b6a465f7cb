"""
Measure the ceiling: decode and run full batches in this process, without HTTP and queues.

offline.py DATA SECONDS
    Print one JSON object: images/s of B (photo) and D (tensor) for each arrangement of threads.
offline.py DATA SECONDS ARRANGEMENT INTRA BATCH
    The same for one arrangement, in a fresh TensorFlow; started by the program itself.

Runs in the client's virtualenv, with servers/ on PYTHONPATH.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

SERVERS = Path(__file__).parent.parent / "servers"
CORES = os.cpu_count() or 1

#: The arrangements: the method of `Offline`, threads of one run, rows of a batch, and processes.
ARRANGEMENTS = {
    "thread_per_core 32": ("thread_per_core", 1, 32, 1),
    "process_per_core 32": ("in_turn", 1, 32, CORES),
    "thread_per_core 8": ("thread_per_core", 1, 8, 1),
    "process_per_core 8": ("in_turn", 1, 8, CORES),
}


class Offline:
    """Measures arrangements of threads, each with a method that returns images/s."""

    def __init__(
        self,
        predict: Callable[[list[Any]], list[bytes]],
        read: Callable[[bytes], Any],
        seconds: float,
        batch: int,
    ) -> None:
        self.predict, self.read, self.seconds, self.batch = predict, read, seconds, batch

    def timed(self, step: Callable[[], int]) -> float:
        """
        Call *step* for `seconds` seconds and return images/s; *step* returns a number of images.

        A first call, which does not count, warms up.
        """
        step()
        done, start = 0, time.perf_counter()
        while time.perf_counter() - start < self.seconds:
            done += step()
        return done / (time.perf_counter() - start)

    def in_turn(self, raw: bytes) -> float:
        """Return the images/s of one thread that decodes a batch of *raw*, then runs it."""
        return self.timed(lambda: len(self.predict([self.read(raw) for _ in range(self.batch)])))

    def thread_per_core(self, raw: bytes) -> float:
        """
        Return the images/s of one thread per core, each of which decodes and runs batches of *raw*.

        All threads share one session.
        """
        with ThreadPoolExecutor(CORES) as pool:
            return sum(pool.map(lambda _: self.in_turn(raw), range(CORES)))


def child(data: Path, seconds: float, function: str, intra: int, batch: int) -> None:
    """
    Measure one arrangement and print its rates.

    Before each workload, print "ready" and wait for a line on standard input.  *function* is the
    name of a method of `Offline`, *intra* the number of threads of one run, and *batch* that of
    rows.
    """
    import served_model  # noqa: PLC0415 - the parent does without TensorFlow

    os.environ["PEER_GRAPH"] = str(data / "graph.pb")
    predict = served_model.load_net(intra, CORES)
    offline = Offline(predict, served_model.read, seconds, batch)
    rates = {}
    for workload, name in (("B", "photo.jpg"), ("D", "tensor.bin")):
        raw = (data / name).read_bytes()
        print("ready", flush=True)
        sys.stdin.readline()
        rates[workload] = getattr(offline, function)(raw)
    print(json.dumps(rates))


def measured(
    data: Path, seconds: float, function: str, intra: int, batch: int, copies: int
) -> dict[str, float]:
    """
    Measure *copies* processes that run together; return the sum of their rates, by workload.

    The other arguments are those of `child`.
    """
    arguments = [str(data), str(seconds), function, str(intra), str(batch)]
    children = [
        subprocess.Popen(  # noqa: S603 - itself
            [sys.executable, __file__, *arguments],
            env={**os.environ, "PYTHONPATH": str(SERVERS), "CUDA_VISIBLE_DEVICES": ""},
            text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )
        for _ in range(copies)
    ]  # fmt: skip
    for _ in range(2):
        for each in children:
            assert each.stdout  # noqa: S101 - for the types
            while each.stdout.readline().strip() != "ready":
                if each.poll() is not None:
                    sys.exit("the offline loop failed")
        for each in children:
            assert each.stdin  # noqa: S101 - for the types
            each.stdin.write("go\n")
            each.stdin.flush()
    results = [json.loads(each.communicate()[0]) for each in children]
    return {workload: sum(result[workload] for result in results) for workload in "BD"}


def main(data: str, seconds: str, *arrangement: str) -> None:
    """Measure all arrangements; in a child process, only the given *arrangement*."""
    if arrangement:
        function, intra, batch = arrangement
        child(Path(data), float(seconds), function, int(intra), int(batch))
        return
    rates = {name: measured(Path(data), float(seconds), *it) for name, it in ARRANGEMENTS.items()}
    print(json.dumps(rates))


if __name__ == "__main__":
    main(*sys.argv[1:])
