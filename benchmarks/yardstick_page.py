"""
Write what the yardstick showed: how this server stands among others, and below the ceilings.

Pure: a measurement in, Markdown out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.markdown import bold, figure, number, paragraphs, percent, table
from benchmarks.yardstick import HOPELESS, NGINX, OFFLINE, OURS, Point, Yardstick, noisy

#: What a reader would misread in the short name.
LABELS = {"triton": "triton (PyTriton)", NGINX: "nginx, the ceiling", OURS: "TensorFerry"}

WORKLOADS = table(
    ["workload", "what", "load", "ceiling"],
    [
        ["A", "a null model, a body of 1 KiB: what serving itself costs", "closed loop",
         "nginx with a fixed answer"],
        ["B", "a JPEG of 500 x 375 to its five best labels", "closed loop",
         "the best offline loop: no HTTP, and batches that are always full"],
        ["C", "the same at a fixed rate, each server with its own load shedding",
         "Poisson arrivals", "what is offered"],
        ["D", "a float32 tensor of 602,112 bytes to its five best labels", "closed loop",
         "the best offline loop"],
        ["E", "memory, start, CPU", "during A to D", "-"],
    ],
    words=4,
)  # fmt: skip

OFFLINE_LOOPS = """\
Loops without HTTP, of so many rows a batch: one thread decodes and runs, *in turn*; a *pool* of \
threads decodes, in turn with the run; one thread decodes while another runs, *overlapped*; each \
core has a *thread* or a *process* that does both."""


@dataclass(frozen=True, slots=True)
class Match:
    """A figure that servers are compared by, at one point."""

    workload: str
    point: Point
    key: str  #: `rate`, or in C `goodput`

    def words(self) -> str:
        """Say which it is."""
        if self.workload == "C":
            return f"C, {percent(float(self.point))} of the capacity"
        return f"{self.workload}, {clients(self.point)}"

    @property
    def unit(self) -> str:
        """What is counted."""
        return {"A": "answers/s", "C": "good answers/s"}.get(self.workload, "images/s")


def clients(point: Point) -> str:
    """Return the number of clients in words."""
    return f"{point} client{'' if point == 1 else 's'}"


def matches(yardstick: Yardstick) -> list[Match]:
    """
    Return all matches in the workloads that this server took part in, in the order of the page.

    Also those rates of C that it was not tried at, hopeless as it was at the one before.
    """
    return [
        Match(workload, point, "goodput" if workload == "C" else "rate")
        for workload in "ABCD"
        if OURS in yardstick.peers(workload)
        for point in yardstick.points(workload)
    ]


def section(yardstick: Yardstick, image: str) -> str:
    """Return the section on the yardstick, with the plot at *image*."""
    options = yardstick.kept["options"]
    return paragraphs(
        "## Beside other servers",
        "Every server has the same frozen graph (MobileNetV2), the same preprocessing, the same"
        " load generator, and settings of its own that were tuned. Medians of"
        f" {options['rounds']} interleaved rounds, {number(options['seconds'])} s each; a ratio is"
        " taken within a round, and the brackets hold the least and the largest. The load runs on"
        " the same cores.",
        WORKLOADS,
        f"![Rates of all servers below the ceilings]({image})",
        "A hollow mark is of fewer rounds than all.",
        "### The standing",
        standing(yardstick),
        *_details(yardstick),
        _caveats(yardstick),
    )


def standing(yardstick: Yardstick) -> str:
    """Return a table: our figure, the best of the others', the ceiling, and the ratios."""
    rows = []
    for match in matches(yardstick):
        workload, point, key = match.workload, match.point, match.key
        peer = yardstick.best_peer(workload, point, key)
        ours = yardstick.middle(workload, OURS, point, key)
        theirs = yardstick.middle(workload, peer, point, key) if peer else None
        versus = yardstick.ratios(workload, point, key, OURS, (peer, point)) if peer else []
        top, share = ceiling_of(yardstick, match, OURS)
        rows.append(
            [
                match.words(),
                absent(yardstick, match, OURS)
                if ours is None
                else f"{figure(ours)} {match.unit}{of_rounds(yardstick, match, OURS)}",
                f"{figure(theirs)} ({LABELS.get(peer, peer)}){of_rounds(yardstick, match, peer)}"
                if peer
                else "-",
                middle_and_ends(versus),
                figure(top),
                figure(share),
            ]
        )
    head = ["workload", "TensorFerry", "best other", "of the best", "ceiling", "of the ceiling"]
    return table(head, rows)


def of_rounds(yardstick: Yardstick, match: Match, peer: str) -> str:
    """Say of how many rounds the figure of *peer* is the median; empty where it is of all."""
    rounds = yardstick.rounds(match.workload, peer, match.point)
    every = yardstick.kept["options"]["rounds"]
    return f", {rounds} of {every} rounds" if 0 < rounds < every else ""


def absent(yardstick: Yardstick, match: Match, peer: str) -> str:
    """Say why *peer* has no figure."""
    given_up = match.workload == "C" and yardstick.gave_up(peer, match.point)
    return "not tried" if given_up else "not measured"


def middle_and_ends(ratios: Sequence[float]) -> str:
    """Return the median of *ratios*, with the least and the largest in brackets if they differ."""
    if not ratios:
        return "-"
    ends = [number(end, 2) for end in (min(ratios), max(ratios))]
    return number(median(ratios), 2) + (f" ({' to '.join(ends)})" if ends[0] != ends[1] else "")


def ceiling_of(yardstick: Yardstick, match: Match, peer: str) -> tuple[float | None, float | None]:
    """Return the ceiling of *match*, and the share of it that *peer* reaches."""
    if match.workload == "C":
        good = yardstick.middle("C", peer, match.point, "goodput")
        top = yardstick.offered(match.point)
        return top, good / top if good is not None and top else None
    name, point = yardstick.ceiling(match.workload, match.point)
    return (
        yardstick.middle(match.workload, name, point),
        yardstick.ratio(match.workload, match.point, "rate", peer, (name, point)),
    )


def _details(yardstick: Yardstick) -> list[str]:
    """Return the tables of each workload under headings, where there are any rows."""
    sections = {
        "### A: the null model": _closed(yardstick, "A"),
        "### The offline ceilings": _offline(yardstick),
        "### B: JPEG to labels": _closed(yardstick, "B"),
        "### C: arrivals at a fixed rate": open_loops(yardstick),
        "### D: tensor to labels": _closed(yardstick, "D"),
        "### E: memory, start, CPU": _costs(yardstick),
    }
    return [paragraphs(heading, text) for heading, text in sections.items() if text]


def _named(peer: str, cells: Sequence[str]) -> list[str]:
    row = [LABELS.get(peer, peer), *cells]
    return bold(row) if peer == OURS else row


def _closed(yardstick: Yardstick, workload: str) -> str:
    points, peers = yardstick.points(workload), yardstick.peers(workload)
    if not peers:
        return ""
    unit = Match(workload, points[0], "rate").unit
    if workload == "A":
        peers.insert(0, NGINX)
    rows = (_named(peer, _closed_cells(yardstick, workload, peer, points)) for peer in peers)
    return paragraphs(
        f"{unit.capitalize()}, which share of the ceiling that is, and in brackets p50 and p99 in"
        " ms.",
        table(["server", *map(clients, points), "errors"], rows),
    )


def _closed_cells(
    yardstick: Yardstick, workload: str, peer: str, points: Sequence[Point]
) -> list[str]:
    cells = []
    for point in points:
        match = Match(workload, point, "rate")
        _, share = ceiling_of(yardstick, match, peer)
        rate, p50, p99 = (
            yardstick.middle(workload, peer, point, key) for key in ("rate", "p50", "p99")
        )
        if rate is None:
            cells.append(absent(yardstick, match, peer))
            continue
        of_it = f" = {percent(share)}" if share is not None else ""
        rounds = of_rounds(yardstick, match, peer).replace(",", ";")
        cells.append(f"{figure(rate)}{of_it} ({figure(p50)} / {figure(p99)}{rounds})")
    errors = (yardstick.middle(workload, peer, point, "errors") or 0 for point in points)
    return [*cells, number(sum(errors))]


def _offline(yardstick: Yardstick) -> str:
    arrangements = yardstick.points("B", OFFLINE) or yardstick.points("D", OFFLINE)
    rows = [
        [str(point).replace("_", " "), *(
            figure(yardstick.middle(workload, OFFLINE, point)) for workload in "BD")]
        for point in arrangements
    ]  # fmt: skip
    head = ["arrangement, rows a batch", "B images/s", "D images/s"]
    return paragraphs(OFFLINE_LOOPS, table(head, rows)) if rows else ""


def open_loops(yardstick: Yardstick) -> str:
    """Return the table of C, below what its cells mean; nothing where C was not measured."""
    shares = sorted(yardstick.points("C"), key=float)
    if not shares:
        return ""
    options = yardstick.kept["options"]
    rows = [
        _named(peer, [_open_cell(yardstick, peer, share) for share in shares])
        for peer in yardstick.peers("C")
    ]
    return paragraphs(
        f"Answers a second within {number(options['slo_ms'])} ms, which share of what was sent that"
        " is, and in brackets p50 and p99 in ms, counted from when a request was due; what was"
        " refused stands apart, with its own p99 in ms, and *none* says that more than that share"
        f" got no answer. 100 % is {figure(options['capacity'])} images/s;"
        f" {number(options['open_seconds'])} s each. A server with good answers to less than"
        f" {number(HOPELESS * 100)} % at one rate was not tried at the next in that round; where"
        " others of its rounds were better, the cell says of how many it is the median.",
        table(["server", *(percent(float(share)) for share in shares)], rows),
    )


def _open_cell(yardstick: Yardstick, peer: str, share: Point) -> str:
    match = Match("C", share, "goodput")
    good, offered, p50, p99, refused, soon, sent, errors = (
        yardstick.middle("C", peer, share, key)
        for key in ("goodput", "offered", "p50", "p99", "refused", "refused_p99", "sent", "errors")
    )
    if good is None or not offered:
        return absent(yardstick, match, peer)
    p50_text, p99_text = ("none" if value is None else number(value) for value in (p50, p99))
    refusals = f"; refused {percent(refused / sent)}" if refused and sent else ""
    refusals += f" in {number(soon)}" if refusals and soon else ""
    failures = f"; {number(errors)} errors" if errors else ""
    rounds = of_rounds(yardstick, match, peer).replace(",", ";")
    notes = f"{p50_text} / {p99_text}{refusals}{failures}{rounds}"
    return f"{figure(good)} = {percent(good / offered)} ({notes})"


#: The figures of E: heading, workload, point, key, digits.
COSTS: tuple[tuple[str, str, Point, str, int], ...] = (
    ("start s, null model", "E", "null", "cold_start", 1),
    ("start s, net", "E", "net", "cold_start", 1),
    ("cores while idle", "E", "net", "idle_cores", 2),
    ("PSS MiB, idle", "E", "net", "pss_idle", 0),
    ("PSS MiB, loaded", "E", "loaded", "pss_loaded", 0),
    ("CPU s per 1000 in A, 64 clients", "A", 64, "cpu_per_1000", 2),
    ("CPU s per 1000 in B, 32 clients", "B", 32, "cpu_per_1000", 1),
    ("CPU s per 1000 in D, 32 clients", "D", 32, "cpu_per_1000", 1),
)


def _costs(yardstick: Yardstick) -> str:
    peers = yardstick.peers("B") or yardstick.peers("E")
    rows = [
        _named(peer, [number(yardstick.middle(w, peer, point, key), digits)
                      for _, w, point, key, digits in COSTS])
        for peer in peers
    ]  # fmt: skip
    if not yardstick.peers("E"):
        return ""
    return paragraphs(
        "A start lasts until the first right answer. TensorFerry keeps run times in its cache"
        " folder, so that its starts after the first may be quicker.",
        table(["server", *(cost[0] for cost in COSTS)], rows),
    )


def _caveats(yardstick: Yardstick) -> str:
    disturbed, failed = noisy(yardstick), yardstick.kept.get("failed") or ()
    return paragraphs(
        f"Other programs used more than 0.4 cores during: {', '.join(disturbed)}."
        if disturbed
        else "",
        f"These did not start or answered wrongly: {', '.join(failed)}." if failed else "",
    )
