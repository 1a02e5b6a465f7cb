"""Small measurements, made up, as each kind is kept."""

from collections.abc import Mapping
from typing import Any

from benchmarks import kept
from benchmarks.machine import told
from benchmarks.yardstick import of_workload, trimmed

MACHINE = {
    "cpu": "Abacus", "cores": 2, "memory_gib": 7.5, "kernel": "6.1.2-somebody's", "libc": "glibc 2",
    "python": "3.11.7", "simd": ["avx2"], "hostname": "somewhere",
}  # fmt: skip


def run(
    workload: str, peer: str, point: float | str, round_: int, **figures: Any
) -> dict[str, Any]:
    """Return one run as a yardstick writes it."""
    return {
        "workload": workload, "peer": peer, "point": point, "round": round_, "other_cores": 0.1,
        "statuses": {"200": 5}, "tries": 1, **figures,
    }  # fmt: skip


def closed(rate: float, **more: Any) -> dict[str, Any]:
    """Return the figures of a closed loop."""
    return {"rate": rate, "p50": 10.0, "p99": 20.0, "errors": 0, "cpu_per_1000": 1.5, **more}


def opened(offered: float, goodput: float, **more: Any) -> dict[str, Any]:
    """Return the figures of an open loop."""
    sent = {"sent": 100, "refused": 0, "refused_p99": None, "errors": 0}
    return {"offered": offered, "goodput": goodput, "p50": 30.0, "p99": 90.0, **sent, **more}


#: Round 1 was twice as fast as round 0, for all; in C quick took part in round 0 alone.
RESULT: Mapping[str, Any] = {
    "machine": MACHINE,
    "options": {
        "rounds": 2, "seconds": 4, "open_seconds": 20, "slo_ms": 500, "capacity": 100.0,
        "out": "/home/somebody/run.json",
    },
    "settings": {"new": {"env": {"PEER_TMP": "/home/somebody/tmp"}}},
    "runs": [
        *(run("A", "nginx", 64, n, **closed(40_000.0 * (n + 1))) for n in (0, 1)),
        *(run("A", "new", 64, n, **closed(2_000.0 * (n + 1))) for n in (0, 1)),
        *(run("A", "quick", 64, n, **closed(10_000.0 * (n + 1), errors=n)) for n in (0, 1)),
        run("A", "slow", 64, 1, **closed(500.0, other_cores=0.9)),
        *(run("B", "offline", "one 8", n, rate=100.0 * (n + 1)) for n in (0, 1)),
        *(run("B", "offline", "one 32", n, rate=80.0 * (n + 1)) for n in (0, 1)),
        *(run("B", "new", 1, n, **closed(40.0 * (n + 1))) for n in (0, 1)),
        *(run("B", "new", 32, n, **closed(90.0 * (n + 1))) for n in (0, 1)),
        *(run("B", "quick", 32, n, **closed(80.0 * (n + 1))) for n in (0, 1)),
        *(run("C", "new", 0.6, n, **opened(60.0, 60.0)) for n in (0, 1)),
        *(run("C", "new", 1.2, n, **opened(120.0, 90.0, refused=20, refused_p99=5.0))
          for n in (0, 1)),
        run("C", "quick", 0.6, 0, **opened(60.0, 30.0, p99=None, errors=2)),
        run("E", "new", "net", 0, cold_start=6.0, idle_cores=0.01, pss_idle=900),
        run("E", "quick", "net", 0, cold_start=3.0, idle_cores=0.5, pss_idle=2000),
    ],
    "failed": {"slow net": "/home/somebody/slow.py ended early"},
}  # fmt: skip


def profile() -> dict[str, Any]:
    """Return a profile of A alone."""

    def part(name: str, share: float, gil: float) -> dict[str, Any]:
        return {"part": name, "share": share, "us_per_request": 500 * share, "gil": gil}

    return {
        "what": "profile", "machine": told(MACHINE), "seconds": 20, "sampling": 100,
        "workloads": {
            "A": {
                "rate": 2000.0, "clients": 64, "requests": 40_000, "cpu_us_per_request": 500.0,
                "gil": 0.75,
                "threads": {
                    "reactor": {"cores": 0.9, "us_per_request": 450.0, "gil": 0.7},
                    "decode": {"cores": 0.1, "us_per_request": 50.0, "gil": 0.05},
                },
                "parts": [
                    part("Klein and werkzeug", 0.6, 0.5),
                    part("HTTP parsing", 0.3, 0.2),
                    part("batcher", 0.095, 0.05),
                    part("JSON", 0.004, 0.0),
                    part("logging", 0.001, 0.0),
                ],
            }
        },
    }  # fmt: skip


def overhead() -> dict[str, Any]:
    """Return three rounds, in one of which the Deferred was slow."""
    costs = {"a Deferred": [2.0, 4.0, 2.0], "submit": [4.0, 4.0, 4.1], "all": [5.0, 6.0, 5.5]}
    return {
        "what": "overhead", "machine": told(MACHINE), "batch": 32, "requests": 3200,
        "microseconds": costs,
    }  # fmt: skip


def decode() -> dict[str, Any]:
    """Return rates in two rounds: in the first, other programs took one of two cores."""

    def row(arrangement: str, *rates: float, model: bool = False) -> dict[str, Any]:
        return {
            "size": "224x224", "arrangement": arrangement, "model": model, "workers": 2,
            "images_per_second": list(rates), "cpu_seconds_per_1000": [2.0, 4.0],
            "late_p50_ms": 0.1, "late_p99_ms": 5.0, "others_cores": [1.0, 0.0],
        }  # fmt: skip

    rows = [row("threads: 2", 100, 200), row("processes: 2", 50, 100)]
    rows.append(row("threads: 2", 30, 60, model=True))
    return {
        "what": "decode", "rounds": 2, "seconds": 3.0, "machine": told(MACHINE), "cores": 2,
        "file_bytes": {"224x224": 16_400}, "process": {"start_seconds": 0.14, "memory_mb": 38.7},
        "copy_microseconds": {"np.array": 29.6, "np.asarray": 23.9}, "rows": rows,
    }  # fmt: skip


def load(what: str) -> dict[str, Any]:
    """Return a load test of two rates; of a trace, where that is what is measured."""
    rows = [
        {"name": "60 %", "offered": 60.0, "rate": 60.0, "p99_ms": 80.0, "refused": 0},
        {"name": "120 %", "offered": 120.0, "rate": 99.0, "p99_ms": None, "refused": 21,
         "server": "s", "warnings": ["the client was late"]},
    ]  # fmt: skip
    rows = [{"workload": "B", "command": f"tensorferry {what}", **row} for row in rows]
    trace = {"trace": {"file": "times.txt", "source": "a shop, CC-BY"}} if what == "replay" else {}
    return {"what": what, "machine": told(MACHINE), **trace, "rows": rows}


def sleeping() -> dict[str, Any]:
    """Return a server beside a grid at one load, beside greedy, and under overload."""

    def terms(curve: str, cap: int, capacity: float, **more: Any) -> dict[str, Any]:
        extent = {"rounds": 2, "warmup": 1.0, "seconds": 6.0}
        return {"curve": curve, "cap": cap, "capacity": capacity, **extent, **more}

    def fixed(rows: int | None, delay: float | None, *means: float) -> dict[str, Any]:
        return {
            "load": 0.6, "max_batch": rows, "delay_ms": delay, "mean_ms": list(means),
            "p99_ms": [2 * mean for mean in means], "refused": [0] * len(means),
            "mean_rows": [4.0] * len(means), "others_cores": [0.0] * len(means),
        }  # fmt: skip

    def closed(clients: int, policy: str, *rates: float) -> dict[str, Any]:
        return {
            "clients": clients, "policy": policy, "rate": list(rates), "mean_ms": [8.0, 8.0],
            "mean_rows": [float(clients)] * 2, "server_cores": [0.4, 0.6],
            "others_cores": [0.0, 0.0],
        }  # fmt: skip

    def over(pattern: str, share: float, *goodput: float) -> dict[str, Any]:
        return {
            "arrivals": pattern, "load": share, "offered": [200.0 * share, 80.0],
            "goodput": list(goodput), "p99_ms": [490.0, 495.0], "refused": [9, 11],
            "refused_p99_ms": [4.0, None], "dropped": [0, 1], "mean_rows": [15.0, 16.0],
            "send_lag_p99_ms": [0.1, 0.1], "others_cores": [0.0, 0.0],
        }  # fmt: skip

    return {
        "what": "sleeping", "machine": told(MACHINE),
        "terms": {
            "grid": terms("20 + 2 b ms", 32, 380.95, settings=24),
            "closed": terms("4 + 0.1 b ms", 64, 6153.85, greedy=64, run_ms=[4.1, 10.4]),
            "overload": terms(
                "20 + 4 b ms", 16, 190.48, slo_ms=500.0, clients=48, closed_loop=[180.0, 190.0]
            ),
        },
        "grid": [
            fixed(None, None, 33.0, 44.0), fixed(16, 22.0, 39.0), fixed(32, 0.0, 30.0, 40.0),
            fixed(32, 11.0, 32.0, 44.0), fixed(32, 44.0, 60.0),
        ],
        "closed": [
            closed(1, "auto", 200.0, 210.0), closed(1, "greedy", 200.0, 200.0),
            closed(8, "auto", 900.0, 1400.0), closed(8, "greedy", 700.0, 700.0),
        ],
        "overload": [over("poisson", 1.2, 190.48, 72.0), over("bursts", 1.2, 152.384, 40.0)],
    }  # fmt: skip


#: Every kind of measurement, as it is kept.
ALL: dict[str, kept.Kept] = {
    "yardstick": trimmed(RESULT),
    "shedding": of_workload("C", trimmed(RESULT)),
    "profile": profile(),
    "overhead": overhead(),
    "decode": decode(),
    "client": load("client"),
    "loadtest": load("loadtest"),
    "replay": load("replay"),
    "sleeping": sleeping(),
}
