"""
Write docs/performance.md out of the measurements that are kept.

Pure.  Every figure is out of them, and a kind that was never measured has no section.  What the
fixed words tell is how each kind is measured, which its program decides.
"""

from collections.abc import Mapping

from benchmarks import (
    decode_page,
    load_page,
    losses,
    overhead_page,
    profile_page,
    shedding_page,
    sleeping_page,
    yardstick_page,
)
from benchmarks.kept import KINDS, Kept
from benchmarks.machine import sentence
from benchmarks.markdown import paragraphs
from benchmarks.yardstick import NGINX, OFFLINE, Yardstick

#: The plots by kind, beside the page.
PLOTS = {"yardstick": "performance-yardstick.png", "profile": "performance-profile.png"}

UNDER_LOAD = """\
The JPEG of workload B, this server alone, by its own load test: clients that keep it busy, then \
Poisson arrivals at shares of that rate. Latencies count from when a request was due; the ceiling \
is the best offline loop."""

CLIENT = """\
What `tensorferry loadtest` can send, and what it says of servers whose every answer takes a known \
time (`python -m benchmarks.known_server`). During a stall all that falls due has to wait."""

REPLAY = """\
Requests as they arrived elsewhere, at the times in {trace}, made faster: on the null model, where \
what counts is what surrounds a model, and with the JPEG of workload B. The ceilings: nginx, the \
best offline loop."""

#: Headings and first words of the sections on this server alone.
LOADS = {
    "client": ("The load test itself", CLIENT),
    "loadtest": ("Under load", UNDER_LOAD),
    "replay": ("A real trace", REPLAY),
}

INTRODUCTION = """\
# Performance

What was measured, on which machine, how it compares with other servers and with what the machine \
can do at all, and where this server loses. On another machine the figures are others.

This page is written by a program, out of the measurements in [performance/](performance/):

```sh
python -m benchmarks.performance --measure --peers FOLDER --trace FILE --trace-source TEXT
python -m benchmarks.performance    # only writes it again
```

FOLDER is a yardstick that compares servers, with this one in its slot `new`; it measures by \
`run.py bench`, and nothing else should run meanwhile. FILE holds arrival times, one a line, and \
TEXT says where they are from. \
`--only profile,decode` leaves out the rest."""


def page(kept: Mapping[str, Kept]) -> str:
    """Return the page on the measurements by kind."""
    return paragraphs(INTRODUCTION, machines(kept), *_sections(kept)) + "\n"


def machines(kept: Mapping[str, Kept]) -> str:
    """Return on which machine each kind was measured; those on one machine together."""
    found: dict[str, list[str]] = {}
    for kind in KINDS:
        if kind in kept and "machine" in kept[kind]:
            found.setdefault(sentence(kept[kind]["machine"]), []).append(kind)
    if len(found) == 1:
        return f"Machine: {next(iter(found))}."
    return "\n".join(f"- Machine of {', '.join(kinds)}: {words}." for words, kinds in found.items())


def _sections(kept: Mapping[str, Kept]) -> list[str]:
    sections = []
    if "yardstick" in kept:
        yardstick = Yardstick(kept["yardstick"])
        sections.append(yardstick_page.section(yardstick, PLOTS["yardstick"]))
        sections.append(losses.section(yardstick, kept.get("profile")))
    if "shedding" in kept:
        sections.append(shedding_page.section(kept["shedding"]))
    if "profile" in kept:
        sections.append(profile_page.section(kept["profile"], PLOTS["profile"]))
    if "overhead" in kept:
        sections.append(overhead_page.section(kept["overhead"]))
    if "decode" in kept:
        sections.append(decode_page.section(kept["decode"]))
    ceilings = _ceilings(kept)
    for kind, (heading, words) in LOADS.items():
        if kind in kept:
            told = words.format(trace=_trace(kept[kind].get("trace", {})))
            sections.append(load_page.section(kept[kind], heading, told, ceilings))
    if "sleeping" in kept:
        sections.append(sleeping_page.section(kept["sleeping"]))
    return sections


def _trace(trace: Kept) -> str:
    source = f" ({trace['source']})" if trace.get("source") else ""
    return f"{trace.get('file', '')}{source}"


def _ceilings(kept: Mapping[str, Kept]) -> dict[str, float | None]:
    """Return the answers a second that no server can exceed, by workload, where measured."""
    if "yardstick" not in kept:
        return {}
    yardstick = Yardstick(kept["yardstick"])
    offline = yardstick.middle("B", OFFLINE, yardstick.best_point("B", OFFLINE))
    nginx = yardstick.middle("A", NGINX, yardstick.best_point("A", NGINX))
    return {"A": nginx, "B": offline}
