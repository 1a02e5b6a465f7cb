"""The CPU of a server divided among its parts: benchmarks/parts.py."""

from collections import Counter

import pytest

from benchmarks.parts import (
    OTHER,
    PARTS,
    RUN,
    WAKING,
    Sampled,
    Samples,
    account,
    divided,
    group_of,
    part_of,
    read_samples,
)

REACTOR = "ReactorBase.mainLoop (twisted/internet/base.py:694)"
HAND_OVER = "hand-over between threads"
POLL = "EPollReactor.doPoll (twisted/internet/epollreactor.py:227)"

#: As py-spy writes them, with and without lines.
COLLAPSED = f"""\
thread (10): MainThread;<module> (benchmarks/peer.py:1);{REACTOR};{POLL} 3
thread (10): MainThread;<module> (benchmarks/peer.py:1);{REACTOR};write (twisted/web/http.py) 5
thread (11): PoolThread-decode-0;Thread._bootstrap (threading.py:1002);ImageFile.load (PIL/x.py) 4
thread (12);_main (somewhere.py:1) 1
"""


@pytest.mark.parametrize(
    ("frames", "part"),
    [
        ([REACTOR], "sockets and reactor"),
        ([REACTOR, POLL], WAKING.name),
        ([REACTOR, POLL, "untilConcludes (twisted/python/util.py:760)"], "sockets and reactor"),
        ([REACTOR, "Deferred._runCallbacks (twisted/internet/defer.py:1082)"], "Deferreds"),
        (["ReactorBase.callFromThread (twisted/internet/base.py:900)"], HAND_OVER),
        (["ThreadPool.callInThread (twisted/python/threadpool.py)"], HAND_OVER),
        (["Resource.render (twisted/web/resource.py:1)"], "HTTP parsing"),
        (["Klein.route.<locals>.deco.<locals>._f (klein/_app.py:452)"], "Klein and werkzeug"),
        (["read_request (server/http/klein_frontend.py:80)"], "our HTTP"),
        (["info (server/http/access.py:80)"], "logging"),
        (["value_of (server/api/json_tensors.py:139)"], "JSON"),
        (["Inference._submit (server/inference.py:137)"], "inference"),
        (["Inference.run (server/inference.py:1)", "dtype (numpy/_core/x.py:1)"], "inference"),
        (["ModelThread.step (model/execution/thread.py:128)"], WAKING.name),
        (["ModelThread.step (model/execution/thread.py:128)", "gone (x.py)"], HAND_OVER),
        (["ModelThread.call (model/execution/thread.py:90)"], HAND_OVER),
        (["Staging.stage (model/execution/staging.py:53)"], "lane and staging"),
        (["Image.resize (PIL/Image.py:2440)"], "decoding"),
        (["_decode (model/images/decode.py:202)"], "decoding"),
        (["BaseSession._run (tensorflow/python/client/session.py:1175)"], "TensorFlow's Python"),
        (["BaseSession._call_tf_sessionrun (tensorflow/python/client/session.py:1)"], RUN.name),
        (["<module> (elsewhere.py:1)"], OTHER.name),
        (["native code without a file"], OTHER.name),
        ([], OTHER.name),
    ],
)  # fmt: skip
def test_a_sample_belongs_to_the_innermost_code_that_is_known(frames: list[str], part: str) -> None:
    """And the longest beginning of its name decides; a waiting thread does nothing else."""
    assert part_of(frames).name == part


def test_each_part_has_a_name_of_its_own_and_code_of_its_own() -> None:
    """Otherwise one part would hide the other."""
    codes = [code for part in PARTS for code in part.code]
    assert len({part.name for part in PARTS}) == len(PARTS)
    assert len(set(codes)) == len(codes)


def test_samples_are_counted_for_each_thread() -> None:
    """By the kernel's number for it, with Python's name."""
    assert read_samples(COLLAPSED.splitlines()) == {
        10: Samples("MainThread", Counter({WAKING.name: 3, "HTTP parsing": 5})),
        11: Samples("PoolThread-decode-0", Counter({"decoding": 4})),
        12: Samples("", Counter({OTHER.name: 1})),
    }


def test_samples_without_the_name_of_a_thread_are_no_samples() -> None:
    """As py-spy writes them without --threads."""
    with pytest.raises(ValueError, match="expected the name of a thread, got 'main"):
        read_samples(["main (x.py:1);f (x.py:2) 3"])


@pytest.mark.parametrize(
    ("parts", "seconds", "expected"),
    [
        ({"a": 30, "b": 10}, 0.4, {"a": 0.3, "b": 0.1}),
        ({"a": 30, "b": 10}, 4.0, {"a": 3.0, "b": 1.0}),
        ({"a": 30, WAKING.name: 10}, 0.4, {"a": 0.3, WAKING.name: 0.1}),
        ({"a": 30, WAKING.name: 10}, 0.3, {"a": 0.3}),
        ({"a": 30, WAKING.name: 20}, 0.4, {"a": 0.3, WAKING.name: 0.1}),
        ({"a": 30, WAKING.name: 20}, 0.1, {"a": 0.1}),
        ({}, 0.5, {OTHER.name: 0.5}),
        ({WAKING.name: 9}, 0.0, {}),
        ({}, 0.0, {}),
    ],
)
def test_samples_divide_the_cpu_of_a_thread(
    parts: dict[str, int], seconds: float, expected: dict[str, float]
) -> None:
    """100 samples a second; those beyond the CPU are of a thread that waits for a core."""
    assert divided(parts, seconds, 100) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "native", "group"),
    [
        ("MainThread", "python", "reactor"),
        ("model-1", "python", "model-1"),
        ("PoolThread-decode-3", "python", "decode"),
        ("", "tf_Compute", "TensorFlow's own"),
        ("", "python", "others"),
        ("PoolThread-twisted.internet.reactor-0", "python", "others"),
    ],
)
def test_threads_are_grouped_by_their_names(name: str, native: str, group: str) -> None:
    """TensorFlow's threads have a native name only."""
    assert group_of(name, native) == group


def test_an_account_holds_the_cost_of_a_request_by_part_and_by_thread() -> None:
    """A core and a half for four seconds, 1000 requests; an idle thread is left out."""
    sampled = Sampled(
        seconds=4.0,
        rate=100,
        cpu={1: ("python", 2.0), 2: ("tf_Compute", 4.0), 3: ("python", 0.0)},
        running={1: Samples("MainThread", Counter({"batcher": 150, "JSON": 50}))},
        holding={1: Samples("MainThread", Counter({"batcher": 100}))},
    )
    assert account(sampled, 1000) == {
        "requests": 1000,
        "cpu_us_per_request": 6000.0,
        "gil": 0.25,
        "threads": {
            "TensorFlow's own": {"cores": 1.0, "us_per_request": 4000.0, "gil": 0.0},
            "reactor": {"cores": 0.5, "us_per_request": 2000.0, "gil": 0.25},
        },
        "parts": [
            {"part": RUN.name, "share": 0.6667, "us_per_request": 4000.0, "gil": 0.0},
            {"part": "batcher", "share": 0.25, "us_per_request": 1500.0, "gil": 0.25},
            {"part": "JSON", "share": 0.0833, "us_per_request": 500.0, "gil": 0.0},
        ],
    }
