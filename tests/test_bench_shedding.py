"""How servers shed load, measured and shown: the kind of that name among the benches."""

from benchmarks.shedding_page import section
from benchmarks.yardstick import of_workload, trimmed
from tests.bench_samples import RESULT

KEPT = of_workload("C", trimmed(RESULT))


def test_only_the_rows_of_the_workload_are_kept() -> None:
    """With the machine and the options of the run that they are of."""
    whole = trimmed(RESULT)
    assert KEPT["what"] == "shedding"
    assert {row["workload"] for row in KEPT["rows"]} == {"C"}
    assert (KEPT["machine"], KEPT["options"]) == (whole["machine"], whole["options"])


def test_the_section_tells_what_was_refused_and_how_soon() -> None:
    """And nothing of other programs or of servers that failed, where there were none."""
    text = section({**KEPT, "failed": []})
    assert "75 % (30 / 90; refused 20 % in 5)" in text
    assert "Not measured to the end" not in text


def test_the_section_tells_who_failed_and_what_else_was_running() -> None:
    """The most cores that other programs had in any measurement."""
    rows = [{**row, "other_cores": [0.25, 0.125]} for row in KEPT["rows"]]
    text = section({**KEPT, "rows": rows, "failed": ["slow net"]})
    assert "did not start in a round: slow net." in text
    assert "Other programs used up to 0.2 cores meanwhile." in text
