"""
Load one server, and measure its CPU and memory and the cores that other programs use.

A measurement that other programs disturb is repeated once.
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import machine_cpu_seconds
from benchmarks.peers.launch import HERE, Peer, venv_python
from benchmarks.peers.processes import ProcessTree

#: Cores that other programs may use before a measurement is repeated.
NOISE = 0.4

#: The figures that are printed at once.
PROGRESS = (
    "rate", "offered", "goodput", "p50", "p99", "refused", "refused_p99", "errors", "server_cores",
    "other_cores",
)  # fmt: skip

#: The timeout of one load, in seconds.
TIMEOUT = 300.0

Result = dict[str, Any]


def progress(*words: object) -> None:
    """Print the time of day and *words* as one line on standard error."""
    print(time.strftime("%H:%M:%S"), *words, file=sys.stderr, flush=True)


def measured(tree: ProcessTree, command: Sequence[str | Path]) -> Result:
    """
    Run *command*, a load generator; return its figures, with the CPU and memory of the server.

    *tree* has the server's processes.
    """
    stop, peak = threading.Event(), [0.0]

    def watch() -> None:
        while not stop.wait(1.0):
            peak[0] = max(peak[0], tree.rss())

    thread = threading.Thread(target=watch)
    thread.start()
    own_before, before = own_cpu_seconds(), tree.cpu()
    all_before, began = machine_cpu_seconds(), time.monotonic()
    try:
        output = subprocess.run(  # noqa: S603 - ours
            list(map(str, command)), stdout=subprocess.PIPE, text=True, cwd=HERE, timeout=TIMEOUT,
            check=True,
        ).stdout  # fmt: skip
    finally:
        stop.set()
        thread.join()
    took, used = time.monotonic() - began, tree.cpu() - before
    client = own_cpu_seconds() - own_before
    result: Result = json.loads(output.split("JSON ", 1)[1])
    per_1000 = round(used / result["answered"] * 1000, 3) if result["answered"] else None
    return {
        **result,
        "cpu_per_1000": per_1000,
        "server_cores": round(used / took, 2),
        "client_cores": round(client / took, 2),
        "other_cores": round((machine_cpu_seconds() - all_before - used - client) / took, 2),
        "rss_peak": round(max(peak[0], tree.rss())),
    }


def own_cpu_seconds() -> float:
    """Return the CPU seconds of this process and of its children that have ended."""
    return sum(os.times()[:4])


def undisturbed(what: str, measure: Callable[[], Result]) -> Result:
    """
    Call *measure* and return its result; call it a second time if other programs disturb it.

    Of two results, return the one with less CPU used by other programs.  *what* names the
    measurement in the log.
    """
    tries: list[Result] = []
    for _ in range(2):
        tries.append(measure())
        if tries[-1]["other_cores"] <= NOISE:
            break
        progress(what, "disturbed:", tries[-1]["other_cores"], "cores used by others")
    best = min(tries, key=lambda result: float(result["other_cores"]))
    progress(what, {key: best[key] for key in PROGRESS if key in best})
    return {**best, "tries": len(tries)}


def closed_wrk(
    what: str, peer: Peer, tree: ProcessTree, payload: str, clients: int, seconds: int
) -> Result:
    """
    Load *peer* with wrk in a closed loop of *clients* for *seconds*; return the figures.

    *payload* is a kind of payload; *what* is the letter of the workload, for the log.
    """
    files = peer.request_files(payload)
    command = (
        "wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--timeout", "60s", "-s",
        "client/post.lua", peer.url(payload), "--", *files,
    )  # fmt: skip
    return undisturbed(f"{what} {peer.name} c={clients}", lambda: measured(tree, command))


def generated(what: str, peer: Peer, tree: ProcessTree, payload: str, *mode: str | float) -> Result:
    """
    Run client/load.py against *peer*, and return the figures.

    *mode* has the arguments of client/load.py after BODY.  *what* is the letter of the workload, or
    the kind of the setting, for the log.
    """
    files = peer.request_files(payload)
    command: tuple[str | Path, ...] = (
        venv_python("client"), "client/load.py", peer.url(payload), *files, *map(str, mode),
    )  # fmt: skip
    return undisturbed(f"{what} {peer.name} {mode[1]}", lambda: measured(tree, command))


def wait_until_idle(tree: ProcessTree, limit: float = 20.0) -> None:
    """
    Wait until the server uses less than 0.3 cores, for at most *limit* seconds.

    After an overload, the server may still process old requests.
    """
    end = time.monotonic() + limit
    while time.monotonic() < end:
        before = tree.cpu()
        time.sleep(1)
        if tree.cpu() - before < 0.3:
            return
