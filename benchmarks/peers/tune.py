"""
Try, for each server, the settings that peers.toml lists under the names that begin with tune.
"""

import subprocess
import time
from collections.abc import Mapping, Sequence

from benchmarks.peers.launch import FIRST_PAYLOADS, Peer, PeerError
from benchmarks.peers.measure import Result, closed_wrk, generated, progress
from benchmarks.peers.rounds import SEED, SLO_MS, Plan

#: The clients of a closed loop of each model.
CLIENTS = {"net": 64, "null": 256, "table": 64}

#: The settings that are tried for a single workload; for all others, those of null and net.
KINDS = {"C": ("shed",), "T": ("table",)}

Setting = Mapping[str, str]


def tune(plan: Plan, peers: Sequence[Peer]) -> list[dict[str, object]]:
    """
    Return a row for each server and setting, with a list of the figures of all rounds.

    If the workload of *plan* is C alone, the settings of tune_shed are tried, at the highest share
    of the capacity; if it is T alone, those of tune_table, else those of tune_null and tune_net, in
    a closed loop.
    """
    shed = plan.workloads == "C"
    kinds = KINDS.get(plan.workloads, ("net", "null"))
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

    *kind* is null, net, table or shed: the list in peers.toml that has the setting.
    """
    model = "net" if kind == "shed" else kind
    try:
        running = peer.start(model, setting, shed=kind == "shed")
    except (PeerError, OSError) as error:
        progress("skipped:", peer.name, setting, error)
        return {}
    try:
        time.sleep(1)
        if kind in ("null", "table"):
            payload = FIRST_PAYLOADS[kind]
            return closed_wrk(kind, peer, running.tree, payload, CLIENTS[kind], plan.seconds)
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
