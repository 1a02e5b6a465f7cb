"""Shares of lane time, and the end of one share: batcher/share.py, batcher/closing.py."""

from collections import Counter, defaultdict
from math import inf, nan

import pytest
from twisted.internet.defer import CancelledError, Deferred

from batcher.errors import OutOfMemory, RunHung, ShuttingDown
from batcher.learning.latency import LatencyCurve
from batcher.policy import FixedPolicy
from batcher.priority import Priority
from batcher.queue import Queue
from batcher.share import Account, Share, ShareTurns
from tests.fakes.executor import ManualBatcher, ManualExecutor
from tests.fakes.threads import outcomes

CAP = 4
RUN_TIMEOUT = 1000.0
SECONDS = defaultdict(lambda: 1.0, slow=8.0)  #: of every run


class SharedDevice(ManualBatcher):
    """A batcher whose queues have shares of their own, and the lane time of each."""

    def __init__(self, *, lanes: int = 1, known: bool = True, **weights: float) -> None:
        """Make a queue and a share for each of *weights*; with *known*, l(b) is known."""
        super().__init__(lanes=lanes, run_timeout=RUN_TIMEOUT)
        self.shares = {name: Share(name, Account(weight)) for name, weight in weights.items()}
        for name, share in self.shares.items():
            measured = {1: SECONDS[name], CAP: SECONDS[name]} if known else {}
            self.queues[name] = Queue(LatencyCurve(measured), CAP, 1000, name, share)
        self.used = dict.fromkeys(weights, 0.0)  #: seconds of ended runs

    def fill(self, *names: str) -> None:
        """Submit requests until two full batches wait in each of these queues."""
        for name in names:
            while self.queues[name].rows < 2 * CAP:
                self.submit(name, key=name)

    def end(self, *, error: Exception | None = None) -> str:
        """End the run on the first busy lane after its time, and return the name of its share."""
        lane = next(lane for lane in self.lanes if lane.runs and not lane.runs[-1].ended)
        name = lane.current.given[0].item
        self.clock.advance(SECONDS[name])
        for each in self.lanes:
            if each.runs and not each.runs[-1].ended:
                self.used[each.current.given[0].item] += SECONDS[name]
        if error is None:
            lane.current.finish()
        else:
            lane.current.fail(error)
        return name

    def serve(self, runs: int, *names: str) -> list[str]:
        """End *runs* runs while rows wait in the queues *names*; return the shares of the runs."""
        ended = []
        for _ in range(runs):
            self.fill(*names)
            ended.append(self.end())
        return ended


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(("fast", "slow"), [(1.0, 1.0), (1.0, 3.0), (3.0, 1.0)])
def test_busy_shares_have_lane_time_by_their_weights(fast: float, slow: float, known: bool) -> None:
    """At any time, within one of the longest batches; whatever their runs take."""
    device = SharedDevice(fast=fast, slow=slow, known=known)
    for _ in range(200):
        device.serve(1, "fast", "slow")
        apart = device.used["fast"] / fast - device.used["slow"] / slow
        assert abs(apart) <= SECONDS["slow"] / min(fast, slow)
    assert min(device.used.values()) > 50 * SECONDS["fast"]


def test_the_versions_of_a_model_have_one_share_of_the_lane_time() -> None:
    """Three versions of a model have together what another model with one version has."""
    device = SharedDevice(one=1.0, two=1.0, three=1.0, other=1.0)
    model = Account()
    for name in ("one", "two", "three"):
        device.shares[name].account = model
    served = Counter(device.serve(60, "one", "two", "three", "other"))
    assert served["other"] == pytest.approx(30, abs=1)
    assert [served[it] for it in ("one", "two", "three")] == pytest.approx([10] * 3, abs=1)


def test_a_version_drains_alone() -> None:
    """The other versions of the model, with the same account, still take requests."""
    device = SharedDevice(one=1.0, two=1.0)
    device.shares["one"].account = device.shares["two"].account
    assert outcomes(device.batcher.drain(device.shares["one"])) == [None]
    device.submit("two", key="two")
    assert device.end() == "two"
    device.submit("one", key="one")
    assert isinstance(device.errors["one"], ShuttingDown)


def test_two_lanes_are_shared_in_the_same_way() -> None:
    """Within one batch of each lane."""
    device = SharedDevice(lanes=2, fast=1.0, slow=1.0)
    device.fill("fast", "slow")
    ends: list[tuple[float, ManualExecutor[str]]] = []
    used = {"fast": 0.0, "slow": 0.0}
    for _ in range(400):
        device.fill("fast", "slow")
        now, busy = device.clock.seconds(), [lane for _, lane in ends]
        ends += [
            (now + SECONDS[lane.current.given[0].item], lane)
            for lane in device.lanes
            if lane not in busy
        ]
        end, lane = min(ends, key=lambda each: each[0])
        ends.remove((end, lane))
        device.clock.advance(end - now)
        used[lane.current.given[0].item] += SECONDS[lane.current.given[0].item]
        lane.current.finish()
        assert abs(used["fast"] - used["slow"]) <= 2 * SECONDS["slow"]


def test_an_idle_share_saves_up_no_credit() -> None:
    """After 100 runs without it, it has every other turn and no more."""
    device = SharedDevice(fast=1.0, idle=1.0)
    device.serve(100, "fast")
    served = device.serve(20, "fast", "idle")
    assert Counter(served[1:]) == {"fast": 9, "idle": 10}


def test_a_share_whose_policy_waits_saves_up_no_credit_either() -> None:
    """Its rows wait for a larger batch meanwhile, and another share uses the lane."""
    device = SharedDevice(fast=1.0, idle=1.0)
    device.queues["idle"].policy = FixedPolicy(max_batch_size=CAP, max_queue_delay=500.0)
    device.serve(1, "fast")
    device.submit("idle", key="idle")
    assert device.serve(100, "fast") == ["fast"] * 100
    served = device.serve(20, "fast", "idle")
    assert Counter(served[1:]) == {"fast": 9, "idle": 10}


@pytest.mark.parametrize("lanes", [1, 3])
def test_a_flooded_share_delays_a_lone_request_by_the_batches_in_flight(lanes: int) -> None:
    """The next idle lane runs it, even if runs take less time than expected."""
    device = SharedDevice(lanes=lanes, slow=1.0, fast=1.0)
    for _ in range(10 * lanes):
        device.fill("slow")
        device.clock.advance(0.5)
        next(lane for lane in device.lanes if not lane.runs[-1].ended).current.finish()
    device.fill("slow")
    answer = device.submit("fast", key="fast")
    device.clock.advance(0.5)
    device.lanes[0].current.finish()
    assert [piece.item for piece in device.lanes[0].current.given] == ["fast"]
    device.lanes[0].current.finish()
    assert answer.called


def test_the_queues_of_one_share_launch_in_order_of_arrival() -> None:
    """As if there were no shares: by priority, then by age, whatever their runs take."""
    with_share, without = SharedDevice(fast=1.0), SharedDevice()
    for device in (with_share, without):
        share = device.shares.get("fast")
        for name in ("a", "b", "c"):
            device.queues[name] = Queue(LatencyCurve({1: 1.0}), 2, 100, name, share)
        for number, name in enumerate("abcabbcacab" * 3):
            level = (Priority.NORMAL, Priority.LOW, Priority.NORMAL, Priority.HIGH)[number % 4]
            device.submit(f"{name}{number}", key=name, priority=level)
        while not device.lane.runs[-1].ended:
            device.clock.advance(1.0)
            device.lane.current.finish()
    assert with_share.batches == without.batches


def test_a_share_is_charged_for_failed_and_repeated_runs() -> None:
    """Each batch of the one share fails once and is run again in halves: 3 runs instead of 1."""
    device = SharedDevice(fast=1.0, idle=1.0)
    for _ in range(60):
        device.fill("fast", "idle")
        first = device.lane.current.given
        bad = first[0].item == "fast" and len(first) == CAP
        device.end(error=ValueError("bad") if bad else None)
        apart = device.used["fast"] - device.used["idle"]
        assert abs(apart) <= 3 * SECONDS["fast"]
    assert min(device.used.values()) >= 28.0


def test_out_of_memory_is_charged_by_the_real_time() -> None:
    """Not by the expected time: the run failed at once."""
    device = SharedDevice(slow=1.0, fast=1.0, idle=1.0)
    device.submit("idle", key="idle")
    device.fill("slow", "fast")
    device.lane.current.finish()
    assert (device.lane.current.given[0].item, device.lane.current.rows) == ("slow", CAP)
    device.lane.current.fail(OutOfMemory(CAP))
    for _ in range(2):  # its halves are run again
        assert device.end() == "slow"
    assert device.serve(17, "slow", "fast") == ["fast"] * 16 + ["slow"]


def test_a_share_is_charged_for_a_run_whose_requests_were_cancelled() -> None:
    """The run takes its time nevertheless."""
    device = SharedDevice(slow=1.0, fast=1.0)
    answers = [device.submit("slow", key="slow") for _ in range(CAP)]
    device.fill("fast", "slow")
    for answer in answers:
        answer.cancel()
    assert device.serve(10, "fast", "slow") == ["slow", *["fast"] * 8, "slow"]


def test_a_share_is_charged_for_a_hung_run_until_it_is_given_up() -> None:
    """Its lane then serves no share; its end changes nothing."""
    device = SharedDevice(lanes=2, fast=1.0, idle=1.0)
    device.submit("fast", key="fast")
    device.clock.advance(RUN_TIMEOUT)
    assert isinstance(device.errors["fast"], RunHung)
    account = device.shares["fast"].account
    assert (account.settled, account.running) == (RUN_TIMEOUT, 0.0)
    device.clock.advance(RUN_TIMEOUT)
    device.lanes[0].current.finish()
    assert (account.settled, account.running) == (RUN_TIMEOUT, 0.0)


def closed(device: SharedDevice, name: str) -> tuple[Deferred[None], list[object]]:
    """Close the share *name*; return its Deferred, and a list of what that fires with."""
    fired: list[object] = []
    ended = device.batcher.drain(device.shares[name])
    ended.addCallback(fired.append)
    return ended, fired


def test_a_closed_share_refuses_and_answers_what_it_has() -> None:
    """Every Deferred of its close fires once, after its last answer; another share goes on."""
    device = SharedDevice(fast=1.0, slow=1.0)
    device.queues["fast"].policy = FixedPolicy(max_batch_size=CAP, max_queue_delay=inf)
    device.submit("slow", key="slow")
    device.submit("waits", key="fast")
    (_, first), (_, second) = closed(device, "fast"), closed(device, "fast")
    device.submit("refused", key="fast")
    assert isinstance(device.errors["refused"], ShuttingDown)
    with pytest.raises(ShuttingDown):
        device.admit(device.queues["fast"], deadline=1e6)
    device.fill("slow")
    device.lane.current.finish()
    assert (device.batches[1], first) == (["waits"], [])
    device.lane.current.finish()
    assert "waits" in device.results
    assert (first, second) == ([None], [None])
    assert closed(device, "fast")[1] == [None]
    assert device.serve(2, "slow") == ["slow"] * 2
    assert (first, second) == ([None], [None])


def test_a_close_waits_for_retries() -> None:
    """The model of the share is needed until then."""
    device = SharedDevice(fast=1.0, slow=1.0)
    device.queues["fast"].policy = FixedPolicy(max_batch_size=CAP, max_queue_delay=0.0)
    retried = device.submit("fast", 2, key="fast")
    _, fired = closed(device, "fast")
    device.submit("slow", key="slow")
    device.lane.current.fail(OutOfMemory(2))
    device.lane.current.finish()
    device.lane.current.finish()
    assert (fired, retried.called) == ([None], True)


def test_a_close_does_not_wait_for_a_hung_run() -> None:
    """Its requests have failed."""
    device = SharedDevice(lanes=2, fast=1.0)
    device.submit("fast", key="fast")
    _, fired = closed(device, "fast")
    assert fired == []
    device.clock.advance(RUN_TIMEOUT)
    assert fired == [None]


def test_a_close_may_be_cancelled() -> None:
    """Its Deferred then fails; the share stays closed, and the other Deferred fires."""
    device = SharedDevice(fast=1.0)
    device.submit("fast", key="fast")
    (first, _), (_, fired) = closed(device, "fast"), closed(device, "fast")
    errors: list[BaseException | None] = []
    first.addErrback(lambda failure: errors.append(failure.value))
    first.cancel()
    device.submit("refused", key="fast")
    device.end()
    assert [type(error) for error in errors] == [CancelledError]
    assert fired == [None]
    assert isinstance(device.errors["refused"], ShuttingDown)


def test_a_callback_of_a_close_may_close_and_drain() -> None:
    """Each Deferred fires once."""
    device = SharedDevice(fast=1.0, slow=1.0)
    device.submit("fast", key="fast")
    fired: list[str] = []

    def close(name: str) -> Deferred[None]:
        ended = device.batcher.drain(device.shares[name])
        return ended.addCallback(lambda _: fired.append(name))

    def close_all(_: None) -> None:
        close("slow")
        device.batcher.drain().addCallback(lambda _: fired.append("all"))

    close("fast").addCallback(close_all)
    close("fast")
    device.end()
    assert sorted(fired) == ["all", "fast", "fast", "slow"]


def test_a_weight_can_change_while_a_run_is_under_way() -> None:
    """From then on the lane time has the new proportion; the charge of the run is corrected."""
    device = SharedDevice(fast=1.0, slow=1.0)
    device.serve(20, "fast", "slow")
    device.shares["slow"].account.set_weight(8.0)
    device.used = dict.fromkeys(device.used, 0.0)
    for _ in range(200):
        device.serve(1, "fast", "slow")
    assert abs(device.used["slow"] / 8.0 - device.used["fast"]) <= 2 * SECONDS["slow"]


@pytest.mark.parametrize("weight", [0.0, -1.0, inf, nan])
def test_a_weight_that_no_account_can_have_is_refused(weight: float) -> None:
    """The account keeps its own."""
    account = Account(2.0)
    with pytest.raises(ValueError, match="the weight of an account must be above 0"):
        account.set_weight(weight)
    assert account.weight == 2.0


def test_a_change_of_the_weight_rescales_the_runs_under_way() -> None:
    """Their end then leaves nothing of their charge."""
    turns, account = ShareTurns(), Account(1.0)
    share = Share("pets", account)
    turns.launched(share, 6.0)
    account.set_weight(3.0)
    assert account.running == 2.0
    turns.ended(share, 6.0, 9.0)
    assert (account.running, account.settled) == (0.0, 3.0)
