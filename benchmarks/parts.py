"""
Share out the CPU of a server among its parts, from the samples of a profiler.

Pure.  A sample is a stack of frames, `function (file:line)`, outermost first, as py-spy writes it.
It belongs to the innermost frame that is known here: numpy called by staging is staging.

How long a thread was busy is known exactly, from the kernel; samples only share that out.  A thread
that waits for its turn on a core looks busy, so samples beyond a thread's CPU time are taken to be
such, and first of all those that caught it about to wake.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the server, the code that belongs to it, and what would make it cheaper."""

    name: str
    code: tuple[str, ...]  #: beginnings of `file:function`; the longest that fits decides
    remedy: str = ""


WAKING = Part(
    "waiting and waking",
    (
        "twisted/internet/epollreactor.py:EPollReactor.doPoll",
        "threading.py:Condition.wait",
        "model/execution/thread.py:ModelThread.step",
    ),
    "fewer and larger turns of each loop",
)
RUN = Part(
    "TensorFlow's run",
    ("tensorflow/python/client/session.py:BaseSession._call_tf_sessionrun", "model/backends/"),
    "every server pays it; smaller batches over idle lanes, where cores wait",
)
OTHER = Part("everything else", ())

#: The threads that TensorFlow has started, and Python does not know.
NATIVE = "TensorFlow's own"

PARTS = (
    Part(
        "sockets and reactor",
        ("twisted/internet/", "twisted/python/log.py"),
        "fewer copies of a body, one write an answer; refusing early, before a body is read",
    ),
    Part("Deferreds", ("twisted/internet/defer.py", "twisted/python/failure.py"),
         "plain calls on an express lane"),
    Part("HTTP parsing", ("twisted/web/",), "an express lane with a parser of its own"),
    Part("Klein and werkzeug", ("klein/", "werkzeug/"), "an express lane beside Klein"),
    Part("our HTTP", ("server/http/",), "an express lane beside Klein"),
    Part("dialect", ("server/api/", "benchmarks/peer.py"), "answers built of fewer pieces"),
    Part("inference", ("server/",), "fewer steps between door and batcher"),
    Part("JSON", ("server/api/json_tensors.py", "json/"), "tensors as raw bytes"),
    Part("batcher", ("batcher/",), "one look at the queue a turn, not one a request"),
    Part(
        "hand-over between threads",
        (
            "model/execution/decode_pool.py", "model/execution/thread.py", "twisted/_threads/",
            "twisted/python/threadpool.py", "threading.py", "queue.py",
            "twisted/internet/base.py:ReactorBase.callFromThread",
            "twisted/internet/base.py:ReactorBase.wakeUp",
            "twisted/internet/_signals.py",
        ),
        "a cheaper hand-over: small bodies stay on the reactor, one wake-up for many answers",
    ),
    Part(
        "decoding",
        ("PIL/", "model/images/"),
        "decoding at a reduced size, straight into the batch",
    ),
    Part("lane and staging", ("model/",), "rows decoded straight into the staging buffer"),
    Part("TensorFlow's Python", ("tensorflow/",), "a callable made once for each signature"),
    RUN,
    Part("logging", ("twisted/logger/", "server/process/logs.py", "server/http/access.py"),
         "no words for what nobody reads"),
    WAKING,
    OTHER,
)  # fmt: skip

_BY_CODE = {code: part for part in PARTS for code in part.code}
_FRAME = re.compile(r"(?P<function>.*) \((?P<file>.*?)(?::\d+)?\)")
_THREAD = re.compile(r"thread \((?P<id>\d+)\)(?:: (?P<name>.*))?")


@dataclass(frozen=True, slots=True)
class Samples:
    """How often a thread was caught in each part."""

    name: str
    parts: Counter[str] = field(default_factory=Counter)


def part_of(frames: Sequence[str]) -> Part:
    """Return the part that a sample belongs to; waiting is waiting only as the innermost frame."""
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
    Return the samples of each thread by the kernel's number for it.

    *collapsed* has lines of frames with semicolons in between, the first naming the thread, and at
    the end how often they were seen.  Raises ValueError for anything else.
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


def shared_out(parts: Mapping[str, int], seconds: float, rate: float) -> dict[str, float]:
    """
    Share *seconds* of a thread's CPU out among *parts*, by samples taken *rate* times a second.

    What was seen beyond that time was waiting for a core, and is taken from `WAKING` first.
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


def room_of(name: str, native: str) -> str:
    """Return the group of a thread: of Python's by its *name*, of others by the *native* one."""
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
    """What a profile of some seconds has to go by."""

    seconds: float
    rate: float  #: of the profiler, samples a second
    cpu: Mapping[int, tuple[str, float]]  #: each thread's name for the kernel, and CPU seconds
    running: Mapping[int, Samples]  #: of threads that were running
    holding: Mapping[int, Samples]  #: of the threads that held the interpreter lock


def account(sampled: Sampled, answers: float) -> dict[str, object]:
    """
    Return what *answers* requests cost: microseconds of CPU of each, by part and by thread.

    `share` is of all CPU; `gil` is the share of the time in which the interpreter lock was held
    there.
    """
    rooms, parts = _spent(sampled)
    held_by: Counter[str] = Counter()
    held_in: Counter[str] = Counter()
    for thread, samples in sampled.holding.items():
        native, _ = sampled.cpu.get(thread, ("", 0.0))
        held_by[room_of(samples.name, native)] += samples.parts.total()
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
            room: {"cores": round(seconds / sampled.seconds, 3), **cost(seconds, held_by[room])}
            for room, seconds in sorted(rooms.items())
            if seconds or held_by[room]
        },
        "parts": [
            {"part": name, "share": round(seconds / total, 4), **cost(seconds, held_in[name])}
            for name, seconds in sorted(parts.items(), key=itemgetter(1), reverse=True)
        ],
    }


def _spent(sampled: Sampled) -> tuple[dict[str, float], dict[str, float]]:
    """Return the CPU seconds of each group of threads, and of each part."""
    rooms: dict[str, float] = {}
    parts: dict[str, float] = {}
    for thread, (native, seconds) in sampled.cpu.items():
        # A thread that was never caught running may have been caught with the lock.
        seen = sampled.running.get(thread) or sampled.holding.get(thread) or Samples("")
        room = room_of(seen.name, native)
        alone = {RUN.name: seconds} if room == NATIVE else None
        rooms[room] = rooms.get(room, 0.0) + seconds
        for name, its in (alone or shared_out(seen.parts, seconds, sampled.rate)).items():
            parts[name] = parts.get(name, 0.0) + its
    return rooms, parts
