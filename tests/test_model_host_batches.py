"""How large batches are, how many rows wait, and what is kept of it: server/model_host.py."""

from pathlib import Path

import numpy as np
import pytest

from batcher.errors import QueueFull
from batcher.learning.latency import MIN_WARMUP_RUNS, warmup_runs
from batcher.policy import FixedPolicy, LotPolicy
from model.execution.warmup import LARGEST
from model.repository.cache import user_cache_folder
from model.repository.latencies import store_latencies, stored_latencies
from model.signature import Signature, TensorSpec, blank_feed
from server.model_host import UNMEASURED, chosen_policy, join_rows, latency_key
from server.settings.table import Settings
from tests.fakes.model_host import World
from tests.fakes.server import (
    SIGNATURE,
    SIZE,
    Log,
)
from tests.fakes.threads import kinds

pytestmark = pytest.mark.usefixtures("log")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep run times in a folder of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


ALONE = Signature(
    (TensorSpec("x", np.dtype(np.float32), (3,)),),
    (TensorSpec("y", np.dtype(np.float32), ()),),
    "lonely",
    alone="input 'x' is float32[3]: no batch axis",
)


@pytest.mark.parametrize(
    ("settings", "policy"),
    [
        (Settings(max_queue_delay=0.0, max_batch_size=8), FixedPolicy(8, 0.0)),
        (Settings(max_queue_delay=0.25), FixedPolicy(LARGEST, 0.25)),
    ],
)
def test_a_delay_that_was_asked_for_makes_the_policy_a_fixed_one(
    settings: Settings, policy: FixedPolicy
) -> None:
    """A delay of 0 too; the largest batch is each signature's own where none was asked for."""
    assert chosen_policy(settings) == policy
    assert isinstance(chosen_policy(Settings()), LotPolicy)


@pytest.mark.parametrize(
    ("settings", "signature", "cap", "tried"),
    [
        (Settings(), SIGNATURE, 4, [1, 2, 4]),  # linear: more than four bring nothing
        (Settings(max_batch_size=2), SIGNATURE, 2, [1, 2]),
        (Settings(max_batch_size=6), SIGNATURE, 6, [1, 2, 4, 6]),
        (Settings(max_batch_size=6), ALONE, 1, [3]),  # one run, whatever was asked for
    ],
)
def test_sizes_are_tried_up_to_the_largest_batch(
    settings: Settings,
    signature: Signature,
    cap: int,
    tried: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Or, where it is learned, up to where more bring nothing."""
    world = World(monkeypatch, settings, signatures=(signature,))
    world.start()
    assert world.cap == cap
    assert sorted(set(world.rows)) == tried


def test_a_device_with_little_room_sets_the_largest_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody asked for more."""
    world = World(monkeypatch, capacity=2)
    world.start()
    assert world.cap == 2
    reason = "a run of 4 rows did not fit into memory"
    last = f"warming up: a run of 4 rows failed, the largest batch is 2: {reason}"
    assert world.said[-1] == last


def test_as_many_rows_may_wait_as_their_bytes_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted as the model takes them, not as the files that came."""
    limit = 3 * SIZE * SIZE * 3
    world = World(monkeypatch, Settings(max_batch_size=2, max_queue_bytes=limit + 47))
    world.start()
    running, *waiting = [world.submit() for _ in range(4)]
    assert [running, *waiting] == [[]] * 4
    (error,) = world.submit()
    assert isinstance(error, QueueFull)
    assert error.limit == 3
    world.turn()
    assert [len(fired) for fired in (running, *waiting)] == [1] * 4


def test_at_least_one_batch_may_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """However few bytes were allowed."""
    world = World(monkeypatch, Settings(max_batch_size=4, max_queue_bytes=1))
    world.start()
    world.submit()
    assert [world.submit() for _ in range(4)] == [[]] * 4
    assert kinds(world.submit()) == [QueueFull]
    world.turn()


def test_each_signature_is_measured_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """And what runs alone is said once, with the reason."""
    world = World(monkeypatch, signatures=(SIGNATURE, ALONE))
    world.start()
    assert [line for line in world.said if "alone" in line or "one request" in line] == [
        "lonely runs one request at a time: input 'x' is float32[3]: no batch axis"
    ]
    assert world.host.inference is not None
    queues = world.host.inference.model.queues
    assert (queues.cap(SIGNATURE.name), queues.cap("lonely")) == (4, 1)
    lonely = queues.of(blank_feed(ALONE))
    assert lonely.latency.predict(1) > 0.0


def test_a_signature_that_cannot_run_a_blank_row_is_served_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who knows what it takes: its first requests warm it up, and the log says so."""
    world = World(monkeypatch, signatures=(SIGNATURE,))
    world.runner.errors = [ValueError("zeros will not do")]
    world.start()
    assert world.cap == UNMEASURED
    assert world.said[-1] == (
        f"{SIGNATURE.name} is not warmed up, nor its batches measured: "
        "a run of one row failed: zeros will not do"
    )
    fired = world.submit()
    world.turn()
    assert len(fired) == 1


def test_a_signature_that_was_not_measured_gives_nobody_more_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What it takes is a guess from its first run: its own requests alone are given that."""
    world = World(monkeypatch, signatures=(SIGNATURE, ALONE))
    world.runner.errors = [ValueError("zeros will not do")]
    world.start()
    assert world.host.inference is not None
    default, known = world.host.inference.default_timeout, world.host.inference.model.queues.known
    before = default.seconds
    known[SIGNATURE.name].latency.observe(1, 1024.0)
    assert default.seconds == before < 1024.0
    assert default.of(known[SIGNATURE.name], 1) > 1024.0


def test_the_parts_of_a_request_are_joined_row_by_row() -> None:
    """Each output for itself, in order."""
    parts = [(np.array([[1], [2]]), np.array([5, 6])), (np.array([[3]]), np.array([7]))]
    first, second = join_rows(parts)
    assert first.tolist() == [[1], [2], [3]]
    assert second.tolist() == [5, 6, 7]


def test_a_request_of_more_rows_than_a_batch_is_answered_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In as many batches as it takes."""
    world = World(monkeypatch, Settings(max_batch_size=2))
    world.start()
    before = sum(world.rows)
    fired = world.submit(rows=5)
    world.turn()
    (answer,) = fired
    assert isinstance(answer, tuple)
    assert answer[0].shape == (5, 3)
    assert sum(world.rows) == before + 5
    assert max(world.rows) == 2


# --- what was measured before


def warmed(*sizes: int, lanes: int = 1) -> list[int]:
    """Return the rows of each run of a warm-up of *sizes* in a `World`."""
    return [rows for rows in sizes for _ in range(lanes * (1 + warmup_runs(rows / 64)))]


def test_a_second_start_does_not_measure_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """It runs each size, and times the largest to see whether the run times still hold."""
    first = World(monkeypatch, lanes=2)
    first.start()
    assert first.rows == warmed(1, 2, 4, lanes=2)
    second = World(monkeypatch, lanes=2)
    second.start()
    assert second.rows == [1, 2, 4] * 2 + [4] * (2 * (1 + MIN_WARMUP_RUNS))
    assert second.said == ["loading pets/7", "warming up"]
    assert second.cap == first.cap


@pytest.mark.parametrize("settings", [Settings(max_batch_size=3), Settings(max_batch_size=8)])
def test_a_climb_to_a_size_that_was_asked_for_is_kept_apart(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It tells nothing of where a climb by itself ends: each start finds its own, or measures."""
    asked = World(monkeypatch, settings)
    asked.start()
    assert asked.cap == settings.max_batch_size == max(asked.rows)
    learned = World(monkeypatch)
    learned.start()
    assert learned.cap == 4
    assert learned.said[-1].startswith("warming up: ")
    again = World(monkeypatch, settings)
    again.start()
    assert (again.cap, again.said[-1]) == (asked.cap, "warming up")


def test_a_climb_that_was_cut_short_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next start may have more room."""
    World(monkeypatch, capacity=2).start()
    roomy = World(monkeypatch)
    roomy.start()
    assert roomy.cap == 4


def test_run_times_that_no_longer_hold_are_measured_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """They were measured on another machine, or on one that was busy."""
    World(monkeypatch).start()
    key = latency_key("fake", SIGNATURE, None)
    store_latencies(user_cache_folder(), key, {1: 100.0, 2: 200.0, 4: 400.0})
    world = World(monkeypatch)
    world.start()
    assert "4 rows take" in " ".join(world.said)
    kept = stored_latencies(user_cache_folder(), key)
    assert kept is not None
    assert kept[4] < 100.0


def test_run_times_for_which_there_is_no_room_are_measured_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another process may have taken the device's memory since."""
    World(monkeypatch).start()
    world = World(monkeypatch, capacity=2)
    world.start()
    assert world.cap == 2


def test_another_model_is_measured_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the same on another device: whatever decides how long a run takes."""
    World(monkeypatch).start()
    world = World(monkeypatch)
    world.runner.fingerprint = "another"
    world.start()
    assert world.rows == warmed(1, 2, 4)


@pytest.mark.parametrize("content", [b"", b"nonsense", b"[]", b'{"2": 0.5}', b'{"1": -1}'])
def test_what_is_damaged_is_measured_anew(content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """And written whole."""
    World(monkeypatch).start()
    file = user_cache_folder().latency_file(latency_key("fake", SIGNATURE, None))
    whole = file.read_bytes()
    file.write_bytes(content)
    world = World(monkeypatch)
    world.start()
    assert world.rows == warmed(1, 2, 4)
    assert file.read_bytes() == whole


@pytest.mark.parametrize("home", ["file", "relative"])
def test_a_cache_that_cannot_be_used_costs_only_time(
    home: str, cache: Path, monkeypatch: pytest.MonkeyPatch, log: Log
) -> None:
    """One warning, however many signatures: the next start will measure again."""
    cache.joinpath("file").touch()
    where = {"file": str(cache / "file"), "relative": ""}[home]
    monkeypatch.setenv("XDG_CACHE_HOME", where)
    if home == "relative":
        monkeypatch.setattr("platformdirs.user_cache_path", Path)
    world = World(monkeypatch, signatures=(SIGNATURE, ALONE))
    world.start()
    assert world.cap == 4
    warnings = [line for line in log.lines() if "not kept for the next start" in line]
    assert len(warnings) == 1
