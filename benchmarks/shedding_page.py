"""
Write how this server and others shed load: a yardstick's workload C by itself.

Pure: a measurement in, Markdown out.
"""

from collections.abc import Mapping
from typing import Any

from benchmarks.kept import Kept
from benchmarks.markdown import number, paragraphs
from benchmarks.yardstick import Yardstick
from benchmarks.yardstick_page import open_loops

#: Cores that other programs used, from which on the page tells of them.
SHOWN = 0.1


def _rounds(options: Mapping[str, Any]) -> str:
    lasting = f"{number(options['open_seconds'])} s"
    if options["rounds"] == 1:
        return f"One round of {lasting} for each rate."
    return f"Medians of {number(options['rounds'])} interleaved rounds of {lasting} for each rate."


def section(kept: Kept) -> str:
    """Return the section on *kept*."""
    yardstick = Yardstick(kept)
    failed = ", ".join(kept.get("failed", ()))
    others = max((c or 0.0 for row in kept["rows"] for c in row.get("other_cores", ())), default=0)
    return paragraphs(
        "## Beside other servers, at more than they can do",
        "Workload C of the yardstick: a JPEG of 500 x 375 to its five best labels, Poisson arrivals"
        f" at fixed rates. {_rounds(kept['options'])} Each"
        " server sheds load by its own means, set by hand for these 500 ms; this one has no setting"
        " but the deadline. The load runs on the same cores.",
        open_loops(yardstick),
        f"Other programs used up to {number(others, 1)} cores meanwhile."
        if others >= SHOWN
        else "",
        f"Not measured to the end, for it did not start in a round: {failed}." if failed else "",
    )
