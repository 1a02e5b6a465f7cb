"""The model host: batch sizes, queue limits and stored run times: server/model_host.py."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from batcher.errors import QueueFull
from batcher.policy import FixedPolicy, LotPolicy
from model.errors import ModelError
from model.execution.lane_pool import join_rows
from model.execution.warmup import MAX_WARMUP_ROWS
from model.execution.warmup_runs import MIN_WARMUP_RUNS, warmup_runs
from model.repository.cache import user_cache_folder
from model.repository.latencies import store_latencies, stored_latencies
from model.signature import Signature, TensorSpec, blank_feed
from server.measured_times import latency_key
from server.model_host import UNMEASURED_CAP_ROWS, chosen_policy
from server.settings.table import Settings
from tests.fakes.model_host import ModelHostHarness
from tests.fakes.server import (
    SIGNATURE,
    SIZE,
    Log,
)
from tests.fakes.threads import kinds

pytestmark = pytest.mark.usefixtures("log")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Store run times in a folder of the test."""
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
        (Settings(max_queue_delay=0.25), FixedPolicy(MAX_WARMUP_ROWS, 0.25)),
    ],
)
def test_a_set_delay_selects_the_fixed_policy(settings: Settings, policy: FixedPolicy) -> None:
    """Also a delay of 0; without a set batch size the cap is that of each signature."""
    assert chosen_policy(settings) == policy
    assert isinstance(chosen_policy(Settings()), LotPolicy)


@pytest.mark.parametrize(
    ("settings", "signature", "cap", "tried"),
    [
        (Settings(), SIGNATURE, 4, [1, 2, 4]),  # linear: more than four rows bring nothing
        (Settings(max_batch_size=2), SIGNATURE, 2, [1, 2]),
        (Settings(max_batch_size=6), SIGNATURE, 6, [1, 2, 4, 6]),
        (Settings(max_batch_size=6), ALONE, 1, [3]),  # one request a run, whatever is set
    ],
)
def test_sizes_are_tried_up_to_the_largest_batch(
    settings: Settings,
    signature: Signature,
    cap: int,
    tried: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If it is learned, up to the size from which more rows bring nothing."""
    harness = ModelHostHarness(monkeypatch, settings, signatures=(signature,))
    harness.start()
    assert harness.cap == cap
    assert sorted(set(harness.rows)) == tried


def test_the_memory_of_the_device_limits_the_learned_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """If no batch size is set."""
    harness = ModelHostHarness(monkeypatch, capacity=2)
    harness.start()
    assert harness.cap == 2
    reason = "a run of 4 rows did not fit into memory"
    last = f"warming up: a run of 4 rows failed, the largest batch is 2: {reason}"
    assert harness.lines[-1] == last


def test_as_many_rows_may_wait_as_their_bytes_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted in bytes of the model's input, not of the files."""
    limit = 3 * SIZE * SIZE * 3
    harness = ModelHostHarness(monkeypatch, Settings(max_batch_size=2, max_queue_bytes=limit + 47))
    harness.start()
    running, *waiting = [harness.submit() for _ in range(4)]
    assert [running, *waiting] == [[]] * 4
    (error,) = harness.submit()
    assert isinstance(error, QueueFull)
    assert error.limit == 3
    harness.turn()
    assert [len(fired) for fired in (running, *waiting)] == [1] * 4


def test_at_least_one_batch_may_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if fewer bytes are allowed."""
    harness = ModelHostHarness(monkeypatch, Settings(max_batch_size=4, max_queue_bytes=1))
    harness.start()
    harness.submit()
    assert [harness.submit() for _ in range(4)] == [[]] * 4
    assert kinds(harness.submit()) == [QueueFull]
    harness.turn()


def test_each_signature_is_measured_separately(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signature without batches is logged once, with the reason."""
    harness = ModelHostHarness(monkeypatch, signatures=(SIGNATURE, ALONE))
    harness.start()
    assert [line for line in harness.lines if "alone" in line or "one request" in line] == [
        "lonely runs one request at a time: input 'x' is float32[3]: no batch axis"
    ]
    assert harness.host.inference is not None
    queues = harness.host.inference.model.queues
    assert (queues.cap(SIGNATURE.name), queues.cap("lonely")) == (4, 1)
    lonely = queues.of(blank_feed(ALONE))
    assert lonely.latency.predict(1) > 0.0


def test_a_signature_that_cannot_run_a_blank_row_is_still_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its first requests warm it up, and the log reports this."""
    harness = ModelHostHarness(monkeypatch, signatures=(SIGNATURE,))
    harness.runner.errors = [ValueError("zeros will not do")]
    harness.start()
    assert harness.cap == UNMEASURED_CAP_ROWS
    assert harness.lines[-1] == (
        f"{SIGNATURE.name} cannot be warmed up and its batches are not measured: "
        "a run of one row failed: zeros will not do"
    )
    fired = harness.submit()
    harness.turn()
    assert len(fired) == 1


def test_a_version_that_must_run_fails_if_no_signature_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So that it does not replace one that works."""
    harness = ModelHostHarness(monkeypatch, signatures=(SIGNATURE,), must_run=True)
    harness.runner.errors = [ValueError("zeros will not do")]
    started = harness.begin()
    harness.turn()
    assert kinds(started) == [ModelError]
    harness.stop()
    harness.turn()


def test_an_unmeasured_signature_does_not_raise_the_default_timeout(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its time is a guess from its first run, and only its own requests are given that time."""
    harness = ModelHostHarness(monkeypatch, signatures=(SIGNATURE, ALONE))
    harness.runner.errors = [ValueError("zeros will not do")]
    harness.start()
    assert harness.host.inference is not None
    default, known = (
        harness.host.inference.admission.default_timeout,
        harness.host.inference.model.queues.known,
    )
    before = default.seconds
    known[SIGNATURE.name].latency.observe(1, 1024.0)
    assert default.seconds == before < 1024.0
    assert default.of(known[SIGNATURE.name], 1) > 1024.0


def test_the_parts_of_a_request_are_joined_by_rows() -> None:
    """Each output separately, in order."""
    parts = [(np.array([[1], [2]]), np.array([5, 6])), (np.array([[3]]), np.array([7]))]
    first, second = join_rows(parts)
    assert first.tolist() == [[1], [2], [3]]
    assert second.tolist() == [5, 6, 7]


def test_a_request_of_more_rows_than_a_batch_gets_one_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From several batches."""
    harness = ModelHostHarness(monkeypatch, Settings(max_batch_size=2))
    harness.start()
    before = sum(harness.rows)
    fired = harness.submit(rows=5)
    harness.turn()
    (answer,) = fired
    assert isinstance(answer, tuple)
    assert answer[0].shape == (5, 3)
    assert sum(harness.rows) == before + 5
    assert max(harness.rows) == 2


# --- stored run times


def warmed(*sizes: int, lanes: int = 1) -> list[int]:
    """Return the rows of each run of a warm-up of *sizes* in a `ModelHostHarness`."""
    return [rows for rows in sizes for _ in range(lanes * (1 + warmup_runs(rows / 64)))]


def test_a_second_start_does_not_measure_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """It runs each size, and times some of them to check the stored run times."""
    first = ModelHostHarness(monkeypatch, lanes=2)
    first.start()
    assert first.rows == warmed(1, 2, 4, lanes=2)
    second = ModelHostHarness(monkeypatch, lanes=2)
    second.start()
    assert Counter(second.rows) == dict.fromkeys([1, 2, 4], 2 * (1 + MIN_WARMUP_RUNS))
    assert second.lines == ["loading pets/7", "warming up"]
    assert second.cap == first.cap


@pytest.mark.parametrize("settings", [Settings(max_batch_size=3), Settings(max_batch_size=8)])
def test_run_times_up_to_a_set_size_are_stored_separately(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They do not show where an unlimited climb ends."""
    asked = ModelHostHarness(monkeypatch, settings)
    asked.start()
    assert asked.cap == settings.max_batch_size == max(asked.rows)
    learned = ModelHostHarness(monkeypatch)
    learned.start()
    assert learned.cap == 4
    assert learned.lines[-1].startswith("warming up: ")
    again = ModelHostHarness(monkeypatch, settings)
    again.start()
    assert (again.cap, again.lines[-1]) == (asked.cap, "warming up")


def test_a_climb_that_ran_out_of_memory_is_not_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next start may have more memory."""
    ModelHostHarness(monkeypatch, capacity=2).start()
    roomy = ModelHostHarness(monkeypatch)
    roomy.start()
    assert roomy.cap == 4


def stored_rows(factor: dict[int, float]) -> dict[int, float]:
    """Return stored run times: 1/64 s a row, times *factor*, by rows."""
    return {rows: rows / 64 * factor.get(rows, 1.0) for rows in (1, 2, 4)}


QUIET, BUSY = 0.0, 1.4
GOOD = stored_rows({})
SPOILED = stored_rows({1: 2.6, 2: 2.0, 4: 1.4})
BEFORE = stored_rows(dict.fromkeys((1, 2, 4), 1 / 2))  #: of a machine twice as quick


@pytest.mark.parametrize(
    ("before", "cores", "after", "line"),
    [
        (None, QUIET, GOOD, "warming up: 4 rows: 62.5 ms"),
        (
            None,
            BUSY,
            None,
            "70% of the cores during the warm-up: its run times are not kept",
        ),
        (GOOD, QUIET, GOOD, "warming up"),
        (GOOD, BUSY, GOOD, "warming up"),
        (stored_rows({2: 1.2, 4: 0.85}), QUIET, stored_rows({2: 1.2, 4: 0.85}), "warming up"),
        (stored_rows({1: 1.3}), QUIET, GOOD, "takes 15.6 ms instead of the stored 20.3 ms; meas"),
        (stored_rows({2: 1.3}), QUIET, GOOD, "takes 31.2 ms instead of the stored 40.6 ms; meas"),
        (stored_rows({4: 0.7}), QUIET, GOOD, "takes 62.5 ms instead of the stored 43.8 ms; meas"),
        (SPOILED, QUIET, GOOD, "takes 62.5 ms instead of the stored 87.5 ms; measuring again"),
        (SPOILED, BUSY, SPOILED, "its run times are not kept for the next start"),
        (BEFORE, QUIET, GOOD, "takes 62.5 ms instead of the stored 31.2 ms; measuring again"),
        (
            BEFORE,
            BUSY,
            BEFORE,
            "other programs used 70% of the cores: the stored run times are",
        ),
    ],
)
def test_a_disturbed_start_stores_nothing_and_spoiled_run_times_are_replaced(
    before: dict[int, float] | None,
    cores: float,
    after: dict[int, float] | None,
    line: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Stored times above those of now are wrong; those below may be right on a busy machine."""
    cache, key = user_cache_folder(), latency_key("fake", SIGNATURE, None)
    if before is not None:
        store_latencies(cache, key, before)
    harness = ModelHostHarness(monkeypatch)
    harness.cores_of_others = cores
    harness.start()
    kept = stored_latencies(cache, key)
    assert (kept and {rows: kept[rows] for rows in GOOD}) == (after and pytest.approx(after))
    assert any(line in each for each in harness.lines)


@pytest.mark.parametrize(
    ("before", "used"), [(SPOILED, GOOD), (BEFORE, BEFORE)], ids=["slower", "quicker"]
)
def test_a_disturbed_start_serves_with_the_quicker_times(
    before: dict[int, float], used: dict[int, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Either those that it has measured or those that are stored."""
    store_latencies(user_cache_folder(), latency_key("fake", SIGNATURE, None), before)
    harness = ModelHostHarness(monkeypatch)
    harness.cores_of_others = BUSY
    harness.start()
    assert harness.host.inference is not None
    latency = harness.host.inference.model.queues.of(blank_feed(SIGNATURE)).latency
    assert latency.predict(4) == pytest.approx(used[4], rel=0.1)


def test_a_stored_size_that_no_longer_fits_is_measured_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another process may use the memory of the device."""
    ModelHostHarness(monkeypatch).start()
    harness = ModelHostHarness(monkeypatch, capacity=2)
    harness.start()
    assert harness.cap == 2


def test_another_model_is_measured_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fingerprint covers model and device."""
    ModelHostHarness(monkeypatch).start()
    harness = ModelHostHarness(monkeypatch)
    harness.runner.fingerprint = "another"
    harness.start()
    assert harness.rows == warmed(1, 2, 4)


@pytest.mark.parametrize("content", [b"", b"nonsense", b"[]", b'{"2": 0.5}', b'{"1": -1}'])
def test_a_damaged_file_is_measured_again(content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """And replaced by a complete one."""
    ModelHostHarness(monkeypatch).start()
    file = user_cache_folder().latency_file(latency_key("fake", SIGNATURE, None))
    whole = file.read_bytes()
    file.write_bytes(content)
    harness = ModelHostHarness(monkeypatch)
    harness.start()
    assert harness.rows == warmed(1, 2, 4)
    assert file.read_bytes() == whole


@pytest.mark.parametrize("home", ["file", "relative"])
def test_without_a_cache_the_model_is_measured_and_served(
    home: str, cache: Path, monkeypatch: pytest.MonkeyPatch, log: Log
) -> None:
    """With one warning for all signatures."""
    cache.joinpath("file").touch()
    where = {"file": str(cache / "file"), "relative": ""}[home]
    monkeypatch.setenv("XDG_CACHE_HOME", where)
    if home == "relative":
        monkeypatch.setattr("platformdirs.user_cache_path", Path)
    harness = ModelHostHarness(monkeypatch, signatures=(SIGNATURE, ALONE))
    harness.start()
    assert harness.cap == 4
    warnings = [line for line in log.lines() if "not kept for the next start" in line]
    assert len(warnings) == 1
