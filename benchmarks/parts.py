"""
Divide the CPU of a server among its parts, from the samples of a profiler.

Pure.  A sample is a stack of frames, `function (file:line)`, outermost first, as py-spy writes it.
A sample counts for the part of its innermost frame whose code is listed in `PARTS`, so numpy called
by staging counts as staging.

The CPU of a thread is exact, from the kernel; samples only divide it.  A thread that waits for a
core looks busy to the profiler.  So samples beyond the CPU time of a thread count as waiting, and
are subtracted from its samples in the part `WAKING`.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the server, and the code that belongs to it."""

    name: str
    code: tuple[str, ...]  #: beginnings of `file:function`; the longest match decides


WAKING = Part(
    "waiting and waking",
    (
        "twisted/internet/epollreactor.py:EPollReactor.doPoll",
        "threading.py:Condition.wait",
        "model/execution/thread.py:ModelThread.step",
    ),
)
RUN = Part(
    "TensorFlow's run",
    ("tensorflow/python/client/session.py:BaseSession._call_tf_sessionrun", "model/backends/"),
)
OTHER = Part("everything else", ())

#: The threads that TensorFlow starts, which have no name in Python.
NATIVE = "TensorFlow's own"

PARTS = (
    Part("sockets and reactor", ("twisted/internet/", "twisted/python/log.py")),
    Part("Deferreds", ("twisted/internet/defer.py", "twisted/python/failure.py")),
    Part("HTTP parsing", ("twisted/web/",)),
    Part("Klein and werkzeug", ("klein/", "werkzeug/")),
    Part("our HTTP", ("server/http/",)),
    Part("dialect", ("server/api/", "benchmarks/peer.py")),
    Part("inference", ("server/",)),
    Part("JSON", ("server/api/json_tensors.py", "json/")),
    Part("batcher", ("batcher/",)),
    Part(
        "hand-over between threads",
        (
            "model/execution/decode_pool.py", "model/execution/thread.py", "twisted/_threads/",
            "twisted/python/threadpool.py", "threading.py", "queue.py",
            "twisted/internet/base.py:ReactorBase.callFromThread",
            "twisted/internet/base.py:ReactorBase.wakeUp",
            "twisted/internet/_signals.py",
        ),
    ),
    Part(
        "decoding",
        ("PIL/", "model/images/"),
    ),
    Part("lane and staging", ("model/",)),
    Part("TensorFlow's Python", ("tensorflow/",)),
    RUN,
    Part("logging", ("twisted/logger/", "server/process/logs.py", "server/http/access.py")),
    WAKING,
    OTHER,
)  # fmt: skip

_BY_CODE = {code: part for part in PARTS for code in part.code}
_FRAME = re.compile(r"(?P<function>.*) \((?P<file>.*?)(?::\d+)?\)")
_THREAD = re.compile(r"thread \((?P<id>\d+)\)(?:: (?P<name>.*))?")


@dataclass(frozen=True, slots=True)
class Samples:
    """The name of a thread in Python, and its number of samples in each part."""

    name: str
    parts: Counter[str] = field(default_factory=Counter)


def part_of(frames: Sequence[str]) -> Part:
    """
    Return the part that the sample *frames* counts for; `OTHER` if no frame is listed.

    Only the innermost frame can belong to `WAKING`.
    """
    for depth, frame in enumerate(reversed(frames)):
        found = _FRAME.fullmatch(frame)
        if found is None:
            continue
        place = f"{found['file']}:{found['function']}"
        fitting = [code for code in _BY_CODE if place.startswith(code)]
        if depth:
            fitting = [code for code in fitting if code not in WAKING.code]
        if fitting:
            return _BY_CODE[max(fitting, key=len)]
    return OTHER


def read_samples(collapsed: Iterable[str]) -> dict[int, Samples]:
    """
    Return the samples of each thread, by the thread id of the kernel.

    A line of *collapsed* holds frames separated by semicolons, then a space and the number of
    samples. The first frame names the thread; raises ValueError if it does not.
    """
    threads: dict[int, Samples] = {}
    for line in collapsed:
        stack, _, count = line.rpartition(" ")
        thread, *frames = stack.split(";")
        found = _THREAD.fullmatch(thread)
        if found is None:
            raise ValueError(f"expected the name of a thread, got {thread!r}")
        samples = threads.setdefault(int(found["id"]), Samples(found["name"] or ""))
        samples.parts[part_of(frames).name] += int(count)
    return threads


def divided(parts: Mapping[str, int], seconds: float, rate: float) -> dict[str, float]:
    """
    Divide *seconds*, the CPU of one thread, among its parts; return the seconds of each part.

    *parts* has the number of samples of each part; *rate* is the number of samples a second.
    Samples beyond *seconds* were taken while the thread waited for a core: they are subtracted from
    `WAKING`.
    """
    counts = dict(parts)
    excess = max(0.0, sum(counts.values()) - seconds * rate)
    weights = {
        name: max(0.0, count - excess) if name == WAKING.name else float(count)
        for name, count in counts.items()
    }
    total = sum(weights.values())
    if not total:
        return {OTHER.name: seconds} if seconds else {}
    return {name: seconds * weight / total for name, weight in weights.items() if weight}


def group_of(name: str, native: str) -> str:
    """
    Return the group of a thread; *name* is its name in Python, *native* that in the kernel.

    *name* is empty for a thread that Python did not start.
    """
    if name == "MainThread":
        return "reactor"
    if name.startswith("model-"):
        return name
    if "decode" in name:
        return "decode"
    if not name and native.startswith(("tf_", "Eigen")):
        return NATIVE
    return "others"


@dataclass(frozen=True, slots=True)
class Sampled:
    """The samples of the threads of a process, and the CPU of each."""

    seconds: float
    rate: float  #: samples a second
    cpu: Mapping[int, tuple[str, float]]  #: the native name and the CPU seconds of each thread
    running: Mapping[int, Samples]  #: of threads that were running
    holding: Mapping[int, Samples]  #: of the threads that held the interpreter lock


def account(sampled: Sampled, answers: float) -> dict[str, object]:
    """
    Return the CPU of a request in microseconds, by part and by group of threads.

    It is the CPU time in *sampled* divided by *answers*, the number of answers in that time.
    `share` is the share of a part in all CPU; `gil` is the share of the time in which a part or a
    group holds the interpreter lock.
    """
    groups, parts = _spent(sampled)
    held_by: Counter[str] = Counter()
    held_in: Counter[str] = Counter()
    for thread, samples in sampled.holding.items():
        native, _ = sampled.cpu.get(thread, ("", 0.0))
        held_by[group_of(samples.name, native)] += samples.parts.total()
        held_in.update(samples.parts)

    looks, total = sampled.seconds * sampled.rate, sum(parts.values())

    def cost(seconds: float, held: int) -> dict[str, float]:
        each = round(seconds / answers * 1e6, 1)
        return {"us_per_request": each, "gil": round(held / looks, 4)}

    return {
        "requests": round(answers),
        "cpu_us_per_request": round(total / answers * 1e6, 1),
        "gil": round(held_in.total() / looks, 4),
        "threads": {
            group: {"cores": round(seconds / sampled.seconds, 3), **cost(seconds, held_by[group])}
            for group, seconds in sorted(groups.items())
            if seconds or held_by[group]
        },
        "parts": [
            {"part": name, "share": round(seconds / total, 4), **cost(seconds, held_in[name])}
            for name, seconds in sorted(parts.items(), key=itemgetter(1), reverse=True)
        ],
    }


def _spent(sampled: Sampled) -> tuple[dict[str, float], dict[str, float]]:
    """Return the CPU seconds of each group of threads, and those of each part."""
    groups: dict[str, float] = {}
    parts: dict[str, float] = {}
    for thread, (native, seconds) in sampled.cpu.items():
        # A thread without samples of running may have samples with the lock.
        seen = sampled.running.get(thread) or sampled.holding.get(thread) or Samples("")
        group = group_of(seen.name, native)
        alone = {RUN.name: seconds} if group == NATIVE else None
        groups[group] = groups.get(group, 0.0) + seconds
        for name, its in (alone or divided(seen.parts, seconds, sampled.rate)).items():
            parts[name] = parts.get(name, 0.0) + its
    return groups, parts
