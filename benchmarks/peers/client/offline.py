"""
Measure the ceiling: decode and run full batches in this process, without HTTP and queues.

offline.py DATA SECONDS
    Print one JSON object: for each arrangement of threads, the images/s of workload B (photo) and
    of D (tensor).
offline.py DATA SECONDS ARRANGEMENT INTRA BATCH
    Print the images/s for one arrangement.  The first form starts this one as a child process, so
    that each arrangement has a fresh TensorFlow.

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
    """Measures arrangements of threads; the method of an arrangement returns images/s."""

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
        Call *step* repeatedly for `seconds` seconds, and return images/s.

        *step* returns the number of images it has processed.  One call before the measurement warms
        up.
        """
        step()
        done, start = 0, time.perf_counter()
        while time.perf_counter() - start < self.seconds:
            done += step()
        return done / (time.perf_counter() - start)

    def in_turn(self, raw: bytes) -> float:
        """Return the images/s of one thread that decodes, then runs, batches of copies of *raw*."""
        return self.timed(lambda: len(self.predict([self.read(raw) for _ in range(self.batch)])))

    def thread_per_core(self, raw: bytes) -> float:
        """
        Return the images/s of one thread per core, each of which works as in `in_turn`.

        All threads share one session.
        """
        with ThreadPoolExecutor(CORES) as pool:
            return sum(pool.map(lambda _: self.in_turn(raw), range(CORES)))


def child(data: Path, seconds: float, function: str, intra: int, batch: int) -> None:
    """
    Measure one arrangement, and print its images/s as a JSON object by workload.

    Before each workload, print "ready" and wait for a line on standard input.  *function* is the
    name of a method of `Offline`, *intra* the number of threads of one run, and *batch* the number
    of rows of a batch.
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
    Run *copies* child processes at the same time; return the sum of their images/s, by workload.

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
    """Measure all arrangements; as a child process, measure only the *arrangement* given."""
    if arrangement:
        function, intra, batch = arrangement
        child(Path(data), float(seconds), function, int(intra), int(batch))
        return
    rates = {name: measured(Path(data), float(seconds), *it) for name, it in ARRANGEMENTS.items()}
    print(json.dumps(rates))


if __name__ == "__main__":
    main(*sys.argv[1:])
