"""
Measure servers in interleaved rounds: each round measures each server, in a rotated order.

Workload A is the null model in a closed loop, B a JPEG in a closed loop, C a JPEG at fixed rates
with the server's own load shedding, D a tensor in a closed loop, T a row of a table in a closed
loop, E memory and start.  A point is, in A, B, D and T, the number of clients; in C, the share of
the capacity; in E, the model that was started, or `loaded` after the load of B; for the offline
loop, the arrangement.
"""

import json
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.kept import stamped, write
from benchmarks.machine import machine_cpu_seconds
from benchmarks.peers.launch import DATA, HERE, NGINX, WORK, Peer, PeerError, Running, venv_python
from benchmarks.peers.measure import (
    Result,
    closed_wrk,
    generated,
    own_cpu_seconds,
    progress,
    wait_until_idle,
)

CLIENTS_A, CLIENTS_B, CLIENTS_D, CLIENTS_T = (64, 256), (1, 8, 32, 64), 32, (1, 16, 64)
SLO_MS = 500  #: the largest latency of a good answer in C, in milliseconds

#: The share of good answers below which C does not try higher rates.
HOPELESS = 0.05

#: The seed of the arrivals of the first round of C.
SEED = 7


@dataclass(frozen=True, slots=True)
class Plan:
    """The extent of a comparison."""

    workloads: str
    rounds: int
    seconds: int  #: of a closed loop
    open_seconds: int  #: of a fixed rate
    shares: Sequence[float]  #: of the capacity: the rates of C
    capacity: float | None  #: images a second; None: the best rate of B
    clients: Sequence[int] = CLIENTS_B  #: of B


@dataclass(slots=True)
class Comparison:
    """The measurements of one comparison; `file` is written after each measurement."""

    plan: Plan
    peers: Sequence[Peer]
    file: Path
    runs: list[Result] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    capacity: float = 0.0
    stamp: dict[str, Any] = field(default_factory=lambda: stamped("peers", {}))

    def go(self) -> dict[str, Any]:
        """Measure the workloads of `plan`, and return what `file` has at the end."""
        chosen = self.plan.workloads
        for number in range(self.plan.rounds):
            if "A" in chosen:
                self._null(number)
            if "T" in chosen:
                self._table(number)
            if "B" in chosen or "D" in chosen:
                self._offline(number)
                self._net(number)
        if "C" in chosen:
            self.capacity = self.plan.capacity or self._best_rate()
            if not self.capacity:
                progress("C needs the capacity: measure B too, or give --capacity")
        for number in range(self.plan.rounds if self.capacity else 0):
            self._shedding(number)
        return self._written()

    def _written(self) -> dict[str, Any]:
        options = {
            "rounds": self.plan.rounds, "seconds": self.plan.seconds, "slo_ms": SLO_MS,
            "open_seconds": self.plan.open_seconds, "capacity": self.capacity,
        }  # fmt: skip
        kept = {
            **self.stamp,
            "options": options,
            "versions": {peer.name: peer.version() for peer in self.peers},
            "settings": {peer.name: peer.settings() for peer in self.peers},
            "failed": self.failed,
            "runs": self.runs,
        }
        write(self.file, kept)
        return kept

    def _add(
        self, workload: str, peer: str, number: int, point: float | str, result: Result
    ) -> None:
        self.runs.append(
            {"workload": workload, "peer": peer, "round": number, "point": point, **result}
        )
        self._written()

    def _each(
        self,
        number: int,
        model: str,
        peers: Sequence[Peer],
        work: Callable[[Peer, Running], None],
        *,
        shed: bool = False,
    ) -> None:
        """
        Start each of *peers* with *model*, and call *work*; skip those that failed to start before.

        The round *number*, from 0, determines which server is the first.  *shed* switches on load
        shedding.
        """
        shift = number % max(len(peers), 1)
        for peer in [*peers[shift:], *peers[:shift]]:
            name = f"{peer.name} {model}"
            if name in self.failed or not peer.serves(model):
                continue
            try:
                running = peer.start(model, shed=shed)
            except (PeerError, OSError) as error:
                progress("skipped:", error)
                self.failed[name] = str(error)
                continue
            try:
                self._add("E", peer.name, number, model, _idle(running))
                work(peer, running)
            except (subprocess.SubprocessError, IndexError) as error:
                progress("failed:", peer.name, error)
            finally:
                running.tree.stop()

    def _null(self, number: int) -> None:
        def work(peer: Peer, running: Running) -> None:
            for clients in CLIENTS_A:
                seconds = self.plan.seconds
                result = closed_wrk("A", peer, running.tree, "null", clients, seconds)
                self._add("A", peer.name, number, clients, result)

        nginx = [NGINX] if (WORK / "nginx/usr").exists() else []
        self._each(number, "null", [*self.peers, *nginx], work)

    def _table(self, number: int) -> None:
        def work(peer: Peer, running: Running) -> None:
            for clients in CLIENTS_T:
                seconds = self.plan.seconds
                result = closed_wrk("T", peer, running.tree, "row", clients, seconds)
                self._add("T", peer.name, number, clients, result)

        self._each(number, "table", self.peers, work)

    def _net(self, number: int) -> None:
        chosen, seconds = self.plan.workloads, self.plan.seconds

        def work(peer: Peer, running: Running) -> None:
            tree = running.tree
            for clients in self.plan.clients if "B" in chosen else ():
                result = generated("B", peer, tree, "jpeg", "closed", clients, seconds)
                self._add("B", peer.name, number, clients, result)
            self._add("E", peer.name, number, "loaded", {"pss": round(tree.pss())})
            if "D" in chosen and peer.spec.get("tensor", True):
                result = generated("D", peer, tree, "tensor", "closed", CLIENTS_D, seconds)
                self._add("D", peer.name, number, CLIENTS_D, result)

        self._each(number, "net", self.peers, work)

    def _offline(self, number: int) -> None:
        """Measure the ceiling of B and D in the round *number*: full batches without HTTP."""
        before, began, own = machine_cpu_seconds(), time.monotonic(), own_cpu_seconds()
        output = subprocess.run(  # noqa: S603 - ours
            [venv_python("client"), "client/offline.py", DATA, str(self.plan.seconds)],
            check=True, text=True, stdout=subprocess.PIPE, cwd=HERE,
        ).stdout  # fmt: skip
        used = machine_cpu_seconds() - before - (own_cpu_seconds() - own)
        other = round(used / (time.monotonic() - began), 2)
        progress("offline", output.strip(), "other cores:", other)
        for name, rates in json.loads(output).items():
            for workload, rate in rates.items():
                if workload not in self.plan.workloads:
                    continue
                result = {"rate": round(rate, 2), "other_cores": other}
                self._add(workload, "offline", number, name, result)

    def _best_rate(self) -> float:
        rates: dict[tuple[str, float], list[float]] = {}
        for run in self.runs:
            if run["workload"] == "B" and run["peer"] != "offline":
                rates.setdefault((run["peer"], run["point"]), []).append(run["rate"])
        return max(map(median, rates.values()), default=0.0)

    def _shedding(self, number: int) -> None:
        def work(peer: Peer, running: Running) -> None:
            for share in self.plan.shares:
                rate = round(self.capacity * share, 3)
                mode = ("open", rate, self.plan.open_seconds, SLO_MS, SEED + number)
                result = generated(f"C {share:.0%}", peer, running.tree, "jpeg", *mode)
                self._add("C", peer.name, number, share, result)
                if result["goodput"] < HOPELESS * result["offered"]:
                    break
                wait_until_idle(running.tree)

        self._each(number, "net", self.peers, work, shed=True)


def _idle(running: Running) -> Result:
    """
    Wait 2 s without requests; return the cores the server used meanwhile, its memory, and the
    seconds from its start to its first correct answer.
    """
    before = running.tree.cpu()
    time.sleep(2)
    return {
        "cold_start": round(running.cold_start, 2),
        "idle_cores": round((running.tree.cpu() - before) / 2, 2),
        "rss": round(running.tree.rss()),
        "pss": round(running.tree.pss()),
    }
