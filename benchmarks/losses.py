"""
Say where this server is behind the best of the others, and why, out of the measurements alone.

Pure.  Every figure is out of the data.  What could be done about a part is a text of `parts.PARTS`,
and stays true only as long as somebody sees to it.
"""

from dataclasses import dataclass
from math import inf

from benchmarks.kept import Kept
from benchmarks.markdown import figure, listed, number, paragraphs, percent
from benchmarks.parts import PARTS, RUN
from benchmarks.profile_page import cores_of
from benchmarks.yardstick import OURS, Point, Yardstick
from benchmarks.yardstick_page import COSTS, LABELS, Match, ceiling_of, matches, of_rounds

#: A ratio to the best of the others below this is a loss; nearer is chance.
LOST = 0.95

#: Why one client that waits may be served quicker elsewhere; the profiles are of many.
ALONE = (
    "A single request runs on one lane, and on a CPU a lane has one core"
    " ([why](architecture.md#threads)); a server that spreads each run over all cores is quicker"
    " with it, and slower with many."
)

#: How many parts of a profile are named as the reason.
REASONS = 3


@dataclass(frozen=True, slots=True)
class Loss:
    """A match in which another server was better."""

    match: Match
    peer: str
    ours: float
    theirs: float
    ratio: float  #: ours to theirs, within a round
    ceiling: float | None


def compared(yardstick: Yardstick) -> list[tuple[Match, str, float | None]]:
    """Return the matches with another server, the best of those, and our ratio to it."""
    return [
        (match, peer, _ratio(yardstick, match, peer))
        for match in matches(yardstick)
        if (peer := yardstick.best_peer(match.workload, match.point, match.key))
    ]


def _ratio(yardstick: Yardstick, match: Match, peer: str) -> float | None:
    """
    Return our ratio to *peer* within a round; None where no round has figures of both.

    Endless where not even *peer* had anything; 0 where we were not tried, hopeless before that.
    """
    workload, point, key = match.workload, match.point, match.key
    gave_up = workload == "C" and yardstick.gave_up(OURS, point)
    taken = gave_up or yardstick.rounds(workload, OURS, point)
    if taken and yardstick.middle(workload, peer, point, key) == 0:
        return inf
    return 0.0 if gave_up else yardstick.ratio(workload, point, key, OURS, (peer, point))


def losses(yardstick: Yardstick) -> list[Loss]:
    """Return the matches that were lost, in the order of the page."""
    found = []
    for match, peer, ratio in compared(yardstick):
        if ratio is not None and ratio < LOST:
            ours, theirs = (
                yardstick.middle(match.workload, name, match.point, match.key) or 0.0
                for name in (OURS, peer)
            )
            ceiling, _ = ceiling_of(yardstick, match, OURS)
            found.append(Loss(match, peer, ours, theirs, ratio, ceiling))
    return found


def section(yardstick: Yardstick, profile: Kept | None) -> str:
    """Return the section on what was lost, with reasons where there is a *profile*; empty alone."""
    lost, each = losses(yardstick), compared(yardstick)
    if not each:
        return ""
    apart = [match.words() for match, _, ratio in each if ratio is None]
    taken = len(each) - len(apart)
    comparisons = f"{taken} comparison{'' if taken == 1 else 's'} of rates"
    head = (
        f"Of {comparisons}, {len(lost)} {'was' if len(lost) == 1 else 'were'} lost:"
        f" less than {percent(LOST)} of the best other server's."
        if lost
        else f"In none of {comparisons} does another server lead by more than"
        f" {number(100 - LOST * 100)} %."
    )
    parts = []
    for workload in "ABCD":
        its = [loss for loss in lost if loss.match.workload == workload]
        parts.append("\n".join(_line(loss, yardstick) for loss in its))
        if its and workload != "C":
            parts.append(why(profile, workload))
    if apart:
        parts.append(f"Not compared, without figures of one round: {'; '.join(apart)}.")
    return paragraphs("## Where we lose, and why", head, *parts, dearer(yardstick))


def _line(loss: Loss, yardstick: Yardstick) -> str:
    match = loss.match
    ceiling = f"; the ceiling is {figure(loss.ceiling)}" if loss.ceiling else ""
    line = (
        f"- {match.words()}: {figure(loss.ours)} {match.unit}{of_rounds(yardstick, match, OURS)}"
        f" against {figure(loss.theirs)} of {LABELS.get(loss.peer, loss.peer)}"
        f"{of_rounds(yardstick, match, loss.peer)}, {figure(loss.ratio)} of it{ceiling}."
    )
    if (match.workload, match.point) == ("B", 1):
        return f"{line} {ALONE}"
    if match.workload != "C":
        return line
    ours, theirs = (_sheds(yardstick, peer, match.point) for peer in (OURS, loss.peer))
    return f"{line} TensorFerry {ours}; {LABELS.get(loss.peer, loss.peer)} {theirs}."


def _sheds(yardstick: Yardstick, peer: str, share: Point) -> str:
    """Say what *peer* refused in C and how late the rest was: the reasons of a loss there."""
    sent, refused, p99 = (
        yardstick.middle("C", peer, share, key) for key in ("sent", "refused", "p99")
    )
    if not sent:
        return "was not tried, hopeless as it was at the rate before"
    late = f"has a p99 of {number(p99)} ms" if p99 is not None else "leaves some without an answer"
    return f"refuses {percent((refused or 0) / sent)} and {late}"


def why(profile: Kept | None, workload: str) -> str:
    """Return the reason in a few sentences, from the *profile* of that workload."""
    if profile is None or workload not in profile["workloads"]:
        return ""
    profiled = profile["workloads"][workload]
    parts = sorted(profiled["parts"], key=lambda part: -part["share"])[:REASONS]
    words = [
        f"{part['part']} takes {percent(part['share'])} ({figure(part['us_per_request'])} µs)"
        for part in parts
    ]
    name, busiest = max(profiled["threads"].items(), key=lambda thread: thread[1]["cores"])
    remedies = {part.name: part.remedy for part in PARTS if part is not RUN}
    help_ = next((remedies[p["part"]] for p in parts if remedies.get(p["part"])), "")
    return (
        f"Why: a request costs {figure(profiled['cpu_us_per_request'])} µs of CPU, of which"
        f" {listed(words)}. Of {profile['machine']['cores']} cores the server uses"
        f" {number(cores_of(profiled), 2)}, and {name} {number(busiest['cores'], 2)} of that; the"
        f" interpreter lock is held {percent(profiled['gil'])} of the time."
        + (f" Of our own parts the first could be cut by: {help_}." if help_ else "")
    )


def dearer(yardstick: Yardstick) -> str:
    """Return a list of the costs in which another server is cheaper."""
    lines = []
    for heading, workload, point, key, digits in COSTS:
        peer = yardstick.best_peer(workload, point, key, least=True)
        ours = yardstick.middle(workload, OURS, point, key)
        theirs = yardstick.middle(workload, peer, point, key) if peer else None
        if peer and ours is not None and theirs is not None and theirs < LOST * ours:
            lines.append(
                f"- {heading}: {number(ours, digits)} against {number(theirs, digits)} of"
                f" {LABELS.get(peer, peer)}."
            )
    return paragraphs("Another server is cheaper in:", "\n".join(lines)) if lines else ""
