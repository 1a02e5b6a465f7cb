"""
Try, for each server, the settings that peers.toml lists under tune_null, tune_net and tune_shed.
"""

import subprocess
import time
from collections.abc import Mapping, Sequence

from benchmarks.peers.launch import Peer, PeerError
from benchmarks.peers.measure import Result, closed_null, generated, progress
from benchmarks.peers.rounds import SEED, SLO_MS, Plan

#: The clients of a closed loop of each model.
CLIENTS = {"net": 64, "null": 256}

Setting = Mapping[str, str]


def tune(plan: Plan, peers: Sequence[Peer]) -> list[dict[str, object]]:
    """
    Return a row for each server and setting, with a list of the figures of all rounds.

    If the workload of *plan* is C alone, the settings of tune_shed are tried, at the highest share
    of the capacity; else those of tune_null and tune_net, in a closed loop.
    """
    shed = plan.workloads == "C"
    kinds = ("shed",) if shed else tuple(CLIENTS)
    keys = ("goodput", "p99", "refused", "refused_p99") if shed else ("rate", "p99")
    found: dict[str, dict[str, object]] = {}
    for _ in range(plan.rounds):
        for peer in peers:
            for kind in kinds:
                for setting in peer.spec.get(f"tune_{kind}", []):
                    name = f"{peer.name} {kind} {setting}"
                    result = _tried(plan, peer, kind, setting)
                    row = found.setdefault(name, {"setting": name, **{key: [] for key in keys}})
                    for key in keys if result else ():
                        figures = row[key]
                        assert isinstance(figures, list)  # noqa: S101 - for the types
                        figures.append(result[key])
    return list(found.values())


def _tried(plan: Plan, peer: Peer, kind: str, setting: Setting) -> Result:
    """
    Start *peer* with *setting*, load it, and return the figures; empty if the server failed.

    *kind* is null, net or shed: the list in peers.toml that has the setting.
    """
    model = "null" if kind == "null" else "net"
    try:
        running = peer.start(model, setting, shed=kind == "shed")
    except (PeerError, OSError) as error:
        progress("skipped:", peer.name, setting, error)
        return {}
    try:
        time.sleep(1)
        if kind == "null":
            return closed_null(peer, running.tree, CLIENTS[kind], plan.seconds)
        if kind == "net":
            mode: tuple[str | float, ...] = ("closed", CLIENTS[kind], plan.seconds)
        else:
            rate = round((plan.capacity or 0) * max(plan.shares), 3)
            mode = ("open", rate, plan.open_seconds, SLO_MS, SEED)
        return generated(kind, peer, running.tree, "jpeg", *mode)
    except (subprocess.SubprocessError, IndexError) as error:
        progress("failed:", peer.name, setting, error)
        return {}
    finally:
        running.tree.stop()
