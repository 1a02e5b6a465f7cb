"""The comparison with other servers, without a server: benchmarks/peers/."""

import base64
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from benchmarks.peers.bodies import BODIES, v2_binary
from benchmarks.peers.launch import HERE, PORT, Peer, PeerError, has_scores, read_peers
from benchmarks.peers.processes import ProcessTree
from benchmarks.peers.rounds import Comparison, Plan
from benchmarks.peers.run import main, plan_of
from benchmarks.peers.table import report, rows

ROOT = HERE.parent.parent


def run(workload: str, peer: str, point: float | str, number: int, **more: Any) -> dict[str, Any]:
    """Return the figures of one measurement."""
    return {"workload": workload, "peer": peer, "point": point, "round": number, **more}


#: In round 1 all were twice as fast as in round 0.
RUNS = [
    *(run("A", "nginx", 64, number, rate=40_000.0 * (number + 1)) for number in (0, 1)),
    *(run("A", "slow", 64, number, rate=2_000.0 * (number + 1)) for number in (0, 1)),
    *(run("A", "quick", 64, number, rate=10_000.0 * (number + 1)) for number in (0, 1)),
    run("E", "nginx", "null", 0, cold_start=0.1),
]


# --- the servers


def test_every_server_has_what_its_table_names() -> None:
    """A body, and the files of its virtualenv and its program."""
    names = [peer.name for peer in read_peers()]
    assert names[0] == "tensorferry"
    assert "tensorflow_serving" not in names
    for peer in read_peers(",".join([*names, "tensorflow_serving", "triton_container"])):
        assert peer.spec.get("body", "raw") in BODIES
        assert peer.requirements.is_file() is not (peer.cloned or bool(peer.spec.get("optional")))
        for word in peer.spec["start"].split():
            if word.startswith(("servers/", "containers/")):
                assert (HERE / word).is_file()


def test_this_server_runs_from_the_clone() -> None:
    """With the interpreter that runs the comparison; its timeout sheds load in C alone."""
    (peer,) = read_peers("tensorferry")
    assert (str(peer.python), peer.version()) == (sys.executable, "clone")
    assert peer.spec["start"].startswith("{python} -P -m benchmarks.peer ")
    assert peer.spec["env_shed"] == {"PEER_TIMEOUT_MS": "500"}


def test_an_unknown_server_is_an_error() -> None:
    """The message lists the known ones."""
    with pytest.raises(PeerError, match=r"no server wrong in peers\.toml: it has tensorferry"):
        read_peers("mosec,wrong")


def test_a_path_may_differ_for_a_payload() -> None:
    """Without any it is the root."""
    peer = Peer("x", {"path": "/all", "path_tensor": "/tensor"})
    assert peer.url("jpeg") == f"http://127.0.0.1:{PORT}/all"
    assert peer.url("tensor") == f"http://127.0.0.1:{PORT}/tensor"
    assert Peer("x", {}).url("jpeg") == f"http://127.0.0.1:{PORT}/"
    assert [Peer("x", {"models": ["net"]}).serves(model) for model in ("null", "net")] == [0, 1]


@pytest.mark.parametrize("name", BODIES)
def test_a_body_holds_the_payload(name: str) -> None:
    """As it is, or in base64."""
    headers, body = BODIES[name](b"[1, 2.5]", "jpeg")
    assert "Content-Type" in headers
    assert b"[1, 2.5]" in body or base64.b64encode(b"[1, 2.5]") in body


@pytest.mark.parametrize("name", ["tensorferry", "tensorferry_v1", "tensorferry_v2", "mosec"])
def test_a_row_is_sent_in_the_form_that_the_server_takes(name: str) -> None:
    """A list of one row, or the flat numbers and their shape."""
    (peer,) = read_peers(name)
    assert peer.serves("table")
    _, body = BODIES[peer.spec.get("body_row", peer.spec.get("body"))](b"[1, 2.5]", "row")
    content = json.loads(body)
    (value,) = content.values()
    if name == "tensorferry_v2":
        (tensor,) = value
        assert (tensor["shape"], tensor["data"]) == ([1, 2], [1, 2.5])
    else:
        assert value == [[1, 2.5]]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"outputs":[[0.25,0.5]]}', True),
        ('{"outputs":{"y":[[0.250001,0.4999999]]}}', True),
        ('{"shape":[1,2],"data":[0.25,5e-1]}', True),
        ('{"outputs":[[0.5,0.25]]}', False),
        ('{"outputs":[["a"]],"x":[0.25]}', False),
        ('{"error":"notfound"}', False),
    ],
)
def test_scores_are_found_anywhere_in_an_answer(text: str, found: bool) -> None:
    """To the last digits, which differ."""
    assert has_scores(text, [0.25, 0.5]) is found


def test_a_binary_tensor_follows_its_head() -> None:
    """A header states the length of the JSON head, after which the tensor begins."""
    headers, body = v2_binary(b"1234", "tensor")
    length = int(headers["Inference-Header-Content-Length"])
    (tensor,) = json.loads(body[:length])["inputs"]
    assert (tensor["name"], tensor["datatype"], body[length:]) == ("image", "FP32", b"1234")


def test_a_tree_holds_and_ends_all_processes_of_a_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of a shell too, which end only by SIGKILL here."""
    monkeypatch.setattr("benchmarks.peers.processes.PATIENCE", 0.1)
    command = ["sh", "-c", "sleep 60 & sleep 60"]
    tree = ProcessTree(command, {}, tmp_path / "log", tmp_path)
    while len(tree.pids()) < 2:
        assert tree.process.poll() is None
    assert tree.process.pid in tree.pids()
    assert tree.rss() > 0
    tree.stop()
    assert tree.pids() == []


# --- the figures


def test_a_ratio_to_the_ceiling_is_taken_within_a_round() -> None:
    """The fastest server comes first; the ceiling of images is the best offline loop of any."""
    found = {row["server"]: (row["rate"], row["ratio"]) for row in rows("A", RUNS[:-1])}
    assert list(found) == ["nginx", "quick", "slow"]
    assert (found["quick"], found["slow"]) == ((15_000.0, 0.25), (3_000.0, 0.05))
    images = [
        run("B", "offline", "one 8", 0, rate=100.0), run("B", "offline", "one 32", 0, rate=80.0),
        run("B", "x", 8, 0, rate=50.0), run("B", "x", 32, 0, rate=75.0),
    ]  # fmt: skip
    assert [row["ratio"] for row in rows("B", images) if row["server"] == "x"] == [0.5, 0.75]
    tables = [
        run("T", "tensorferry", 1, 0, rate=500.0), run("T", "tensorferry_v1", 64, 0, rate=3000.0),
        run("T", "mosec", 1, 0, rate=400.0), run("T", "mosec", 64, 0, rate=2000.0),
        run("T", "flask", 64, 0, rate=100.0),
    ]  # fmt: skip
    ratios = {(row["server"], row["point"]): row["ratio"] for row in rows("T", tables)}
    assert ratios["tensorferry", "1"] == 0.25
    assert (ratios["tensorferry_v1", "64"], ratios["mosec", "64"]) == (1.5, 1.0)
    figures = {"offered": 120.0, "goodput": 90.0, "sent": 1000, "refused": 200}
    (row,) = rows("C", [run("C", "x", 1.2, 0, **figures)])
    assert (row["point"], row["good_share"], row["refused_share"]) == ("120%", 0.75, 0.2)


def test_the_report_names_what_was_disturbed_and_what_failed() -> None:
    """Below the tables."""
    kept = {
        "commit": "abc", "date": "2026-01-01", "versions": {"x": "1.0"},
        "options": {"rounds": 2, "seconds": 4, "open_seconds": 8, "capacity": 0.0, "slo_ms": 500},
        "runs": [*RUNS, run("A", "x", 64, 1, rate=1.0, other_cores=0.9)],
        "failed": {"y net": "y ended early"},
    }  # fmt: skip
    text = report(kept)
    assert "versions: x 1.0" in text
    assert "| nginx  | null  |      0.100 |" in text
    assert "Other programs used more than 0.4 cores in: A x 64 (round 2)" in text
    assert text.endswith("Failed: y net: y ended early")


def test_a_comparison_is_kept_with_commit_date_and_machine(tmp_path: Path) -> None:
    """And the versions and settings of the servers; a server that cannot start is listed."""
    plan = Plan("C", 1, 1, 1, [0.6], capacity=None)
    kept = Comparison(plan, [Peer("x", {"env_net": {"A": "1"}, "start": "x"})], tmp_path / "r.json")
    written = kept.go()
    assert json.loads((tmp_path / "r.json").read_text()) == written
    assert list(written)[:4] == ["what", "commit", "date", "machine"]
    assert written["versions"] == {"x": "unknown"}
    assert written["settings"] == {"x": {"env_net": {"A": "1"}, "start": "x"}}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bench", "--workloads", "ATX"], "no workload X"),
        (["bench", "--peers", "wrong"], "no server wrong"),
        (["bench", "--shares", "60,many"], "expected whole numbers"),
        (["tune", "--workloads", "C"], "--workloads C needs --capacity"),
    ],
)
def test_a_wrong_option_is_an_error_before_any_load(arguments: list[str], message: str) -> None:
    """The exit code is 2."""
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert message in result.output


def test_workloads_may_have_commas_and_shares_are_percent() -> None:
    """The plan has fractions."""
    extent = {
        "workloads": "a,C", "rounds": 1, "seconds": 2, "open_seconds": 3, "shares": [90, 200],
        "capacity": None, "clients": [8],
    }  # fmt: skip
    plan = plan_of(extent)
    assert (plan.workloads, plan.shares) == ("AC", [0.9, 2.0])
