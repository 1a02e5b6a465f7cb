"""The progress of a load: scripts/load/progress.py."""

import io

from rich.console import Console

from scripts.load.measure import ClosedLoop, Progress
from scripts.load.progress import ProgressLine
from scripts.load.record import Record
from tests.fakes.load import exchange, recorded

LOAD = ClosedLoop(clients=4, seconds=10.0)


def progress(record: Record, elapsed: float, in_flight: int = 4) -> Progress:
    """Return how far *LOAD* has come."""
    return Progress("localhost:1", LOAD, elapsed, 10.0, in_flight, record)


def line() -> ProgressLine:
    """Return a line on no terminal."""
    return ProgressLine(Console(file=io.StringIO()))


def test_the_rate_and_the_latencies_are_of_what_came_since_the_last_line() -> None:
    """The counts are of everything."""
    shown, record = line(), recorded(*[exchange(0.1)] * 50)
    assert shown.line(progress(record, 0.5)) == (
        "  0.5/10 s  localhost:1  4 clients, each waiting for its answer  100/s  "
        "p50 100.0 ms  p99 100.0 ms  in flight 4  answered 50  refused 0  errors 0"
    )
    for each in (*[exchange(0.2)] * 3, exchange(status=503), exchange(status=0, detail="broke")):
        record.add(each)
    assert "  6/s  p50 200.0 ms  p99 200.0 ms  " in shown.line(progress(record, 1.0))
    assert shown.line(progress(record, 1.5)).endswith(
        "  0/s  p50 - ms  p99 - ms  in flight 4  answered 53  refused 1  errors 1"
    )


def test_another_load_begins_anew() -> None:
    """As the next round of a comparison; a record can grow after it was looked at."""
    shown = line()
    shown.line(progress(recorded(*[exchange()] * 7), 10.0))
    record = recorded(exchange())
    assert "  2/s  " in shown.line(progress(record, 0.5))
    record.add(exchange())
    assert shown.line(progress(record, 1.0)).endswith("answered 2  refused 0  errors 0")


def drawn(console: Console) -> str:
    """Return what is written to *console* while the progress of a load is shown."""
    with ProgressLine(console) as shown:
        shown.draw(progress(recorded(exchange()), 1.0))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_it_is_drawn_on_a_terminal_alone() -> None:
    """A log has no use for it."""
    assert drawn(Console(file=io.StringIO())) == ""
    terminal = Console(file=io.StringIO(), force_terminal=True, width=200, _environ={})
    assert "in flight 4" in drawn(terminal)
