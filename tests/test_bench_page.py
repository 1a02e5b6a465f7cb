"""docs/performance.md: benchmarks/page.py and the sections that it is made of."""

import os
import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks import decode_page, kept, load_page, losses, overhead_page, profile_page
from benchmarks.loads import Loaded, row, speed_for
from benchmarks.markdown import figure, listed, number, percent, table
from benchmarks.page import PLOTS, page
from benchmarks.performance import FOLDER, PAGE
from benchmarks.profile import cpu_seconds
from benchmarks.served import WORKLOADS, load_test, shown
from benchmarks.yardstick import Yardstick, trimmed
from benchmarks.yardstick_page import middle_and_ends, section, standing
from tests.bench_samples import (
    ALL,
    RESULT,
    closed,
    decode,
    load,
    opened,
    overhead,
    profile,
    run,
)

DOCS = Path(__file__).parent.parent / "docs"

YARDSTICK = Yardstick(ALL["yardstick"])

HEADINGS = {
    "yardstick": ["Beside other servers", "Where we lose, and why"],
    "shedding": ["Beside other servers, at more than they can do"],
    "profile": ["Where the time goes"],
    "overhead": ["What the batcher costs"],
    "decode": ["Decoding: threads against processes"],
    "client": ["The load test itself"],
    "loadtest": ["Under load"],
    "replay": ["A real trace"],
    "sleeping": ["The server against itself"],
}


#: A rate that is all that was offered, and its share.
FULL = ("60.0", "1.00")
ONE_ROUND = "30.0 (quick), 1 of 2 rounds"


def cells(row: str) -> list[str]:
    """Return the cells of a row of a table."""
    return [cell.strip() for cell in row.strip("|").split(" | ")]


def row_of(text: str, name: str) -> list[str]:
    """Return the one row that begins with *name*."""
    (row,) = [line for line in text.splitlines() if line.startswith(f"| {name} |")]
    return cells(row)


def test_the_page_is_what_the_kept_measurements_say() -> None:
    """Of every kind; else: python -m benchmarks.performance."""
    measured = kept.read_all(DOCS / FOLDER)
    assert tuple(measured) == kept.KINDS
    assert DOCS.joinpath(PAGE).read_text(encoding="utf-8") == page(measured)
    for plot in PLOTS.values():
        assert DOCS.joinpath(plot).read_bytes().startswith(b"\x89PNG")


def test_no_measurement_names_a_place_on_a_machine() -> None:
    """Neither those that are kept nor the page."""
    for file in [*DOCS.glob(f"{FOLDER}/*.json"), *DOCS.glob(PAGE)]:
        assert not re.search(r"/(home|root|tmp|work|usr|opt)\b", file.read_text(encoding="utf-8"))


@pytest.mark.parametrize("kind", kept.KINDS)
def test_a_kind_that_was_never_measured_has_no_section(kind: str) -> None:
    """And each that was has its own, in the order of the kinds."""
    assert re.findall("^## (.+)", page({kind: ALL[kind]}), re.MULTILINE) == HEADINGS[kind]
    every = re.findall("^## (.+)", page(ALL), re.MULTILINE)
    assert every == [heading for each in kept.KINDS for heading in HEADINGS[each]]


def test_all_rows_of_a_table_have_the_cells_of_its_head() -> None:
    """Whatever was left out of the measurements."""
    tables = re.findall(r"(?:^\|.*\n)+", page(ALL), re.MULTILINE)
    assert len(tables) == 18
    for each in tables:
        assert len({len(cells(row)) for row in each.splitlines()}) == 1


def test_machines_that_differ_are_told_apart() -> None:
    """One line for all where they do not."""
    words = "2 cores of Abacus (avx2) with 8 GiB, Linux 6.1, libc: glibc 2, Python 3.11.7."
    assert f"\nMachine: {words}\n" in page(ALL)
    other = {**decode(), "machine": {"cores": 4, "cpu": "Slide rule"}}
    text = page({**ALL, "decode": other})
    kinds = "yardstick, shedding, profile, overhead, client, loadtest, replay, sleeping"
    assert f"- Machine of {kinds}: {words}" in text
    assert "- Machine of decode: 4 cores of Slide rule." in text


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("A, 64 clients", ["3,000 answers/s", "15,000 (quick)", "0.20", "60,000", "0.05"]),
        ("B, 1 client", ["60.0 images/s", "-", "-", "150", "0.40"]),
        ("B, 32 clients", ["135 images/s", "120 (quick)", "1.12", "150", "0.90"]),
        ("C, 60 % of the capacity", ["60.0 good answers/s", ONE_ROUND, "2.00", *FULL]),
        ("C, 120 % of the capacity", ["90.0 good answers/s", "-", "-", "120", "0.75"]),
    ],
)  # fmt: skip
def test_the_standing_has_the_best_of_the_others_and_the_ceiling(
    name: str, expected: list[str]
) -> None:
    """With both ratios, taken within a round."""
    assert row_of(standing(YARDSTICK), name)[1:] == expected


@pytest.mark.parametrize(
    ("ratios", "text"),
    [
        ([], "-"),
        ([0.5], "0.50"),
        ([0.501, 0.502], "0.50"),
        ([0.4, 0.9, 0.5], "0.50 (0.40 to 0.90)"),
    ],
)
def test_a_ratio_is_shown_with_its_least_and_its_largest(ratios: list[float], text: str) -> None:
    """Where two digits tell them apart."""
    assert middle_and_ends(ratios) == text


def test_what_was_lost_is_listed_with_both_numbers_and_a_reason() -> None:
    """What was won is not."""
    text = losses.section(YARDSTICK, profile())
    assert "Of 3 comparisons of rates, 1 was lost: less than 95 % of the best other" in text
    assert (
        "- A, 64 clients: 3,000 answers/s against 15,000 of quick, 0.20 of it; the ceiling is"
        " 60,000." in text
    )
    assert (
        "a request costs 500 µs of CPU, of which Klein and werkzeug takes 60 % (300 µs), HTTP"
        " parsing takes 30 % (150 µs) and batcher takes 9.5 % (47.5 µs)." in text
    )
    assert "Of 2 cores the server uses 1.00, and reactor 0.90 of that" in text
    assert "could be cut by: an express lane beside Klein." in text
    assert "- start s, net: 6.0 against 3.0 of quick." in text
    assert "- PSS MiB" not in text
    assert "Why:" not in losses.section(YARDSTICK, None)
    assert losses.section(Yardstick(trimmed({**RESULT, "runs": []})), profile()) == ""


def where_ours_left(goodput: float) -> Yardstick:
    """Return results in which only another was at 120 %, and ours had this *goodput* at 60 %."""
    kept = [run for run in RESULT["runs"] if run["workload"] != "C"]
    ours = [run("C", "new", 0.6, n, **opened(60.0, goodput)) for n in (0, 1)]
    theirs = [{**run, "peer": "quick"} for run in RESULT["runs"] if run["point"] == 1.2]
    return Yardstick(trimmed({**RESULT, "runs": [*kept, *ours, *theirs]}))


def test_what_has_no_figure_in_a_common_round_is_not_compared() -> None:
    """It is neither lost nor won: this server broke down, or was hopeless in no rate before."""
    yardstick = where_ours_left(goodput=60.0)
    assert [loss for loss in losses.losses(yardstick) if loss.match.workload == "C"] == []
    text = losses.section(yardstick, None)
    assert "Of 2 comparisons of rates, 1 was lost" in text
    assert "Not compared, without figures of one round: C, 120 % of the capacity." in text
    assert row_of(standing(yardstick), "C, 120 % of the capacity")[1] == "not measured"


def test_where_no_other_has_anything_there_is_nothing_to_lose_to() -> None:
    """A rate that only this server keeps up with is compared, and won."""
    runs = [run_ for run_ in RESULT["runs"] if run_["workload"] == "A" and run_["peer"] == "new"]
    runs.append(run("A", "quick", 64, 0, **closed(0.0)))
    text = losses.section(Yardstick(trimmed({**RESULT, "runs": runs})), None)
    assert "In none of 1 comparison of rates" in text


def test_a_figure_of_fewer_rounds_says_so() -> None:
    """In each table."""
    text = section(YARDSTICK, "plot.png")
    assert "| slow | 500 = 0.6 % (10.0 / 20.0; 1 of 2 rounds) | 0 |" in text
    assert "| quick | 30.0 = 50 % (30 / none; 2 errors; 1 of 2 rounds) | not measured |" in text
    assert "90.0 = 75 % (30 / 90; refused 20 % in 5)** |" in text


def test_where_this_server_gave_up_first_it_has_lost() -> None:
    """It was not tried at the rate that another was."""
    yardstick = where_ours_left(goodput=2.0)
    *_, lost = [loss for loss in losses.losses(yardstick) if loss.match.workload == "C"]
    assert (lost.ours, lost.theirs, lost.ratio, lost.ceiling) == (0.0, 90.0, 0.0, 120.0)
    assert row_of(standing(yardstick), "C, 120 % of the capacity")[1] == "not tried"
    assert (
        "TensorFerry was not tried, hopeless as it was at the rate before; quick refuses 20 % and"
        " has a p99 of 90 ms." in losses.section(yardstick, None)
    )


def test_a_profile_tells_what_each_part_costs_and_what_is_to_be_gained() -> None:
    """Parts below a hundredth are one line."""
    text = profile_page.section(profile(), "plot.png")
    assert row_of(text, "Klein and werkzeug") == [
        "Klein and werkzeug", "300", "60 %", "50 %", "x 2.50", "an express lane beside Klein",
    ]  # fmt: skip
    assert row_of(text, "smaller parts")[1:4] == ["2.50", "0.5 %", "0 %"]
    assert row_of(text, "reactor") == ["reactor", "0.90", "10 %", "450", "70 %"]
    assert row_of(text, "decode")[2] == ""


def test_decoding_is_compared_with_the_first_line_of_its_kind() -> None:
    """Within a round and by the cores that others left; with the model is a kind of its own."""
    text = decode_page.section(decode())
    rows = [cells(row)[2:5] for row in text.splitlines() if row.startswith("| 224x224")]
    assert rows == [["150", "100", "1.00"], ["75.0", "50.0", "0.50"], ["45.0", "30.0", "1.00"]]
    assert "median size: 224x224 16 kB. A worker" in text
    assert "starts in 0.14 s and holds 39 MB" in text
    assert "np.array 29.6 µs; np.asarray 23.9 µs." in text


def test_a_load_test_shows_the_columns_that_it_has_figures_for() -> None:
    """The command of each row below, and the warnings of the client."""
    text = load_page.section(load("loadtest"), "Under load", "Words.", {"B": 150.0})
    assert (
        "\n- 60 %: `tensorferry loadtest`\n- 120 %: `tensorferry loadtest`, against `s`\n" in text
    )
    assert "| load | offered/s | answers/s | ceiling/s | p99 ms | refused |" in text
    assert row_of(text, "120 %") == ["120 %", "120", "99.0", "150", "-", "21"]
    assert text.endswith("\n- 120 %: the client was late")


@pytest.mark.parametrize(
    ("trace", "words"),
    [
        ({"file": "times.txt", "source": "a shop, CC-BY"}, "in times.txt (a shop, CC-BY), made"),
        ({"file": "mine.txt", "source": ""}, "in mine.txt, made"),
    ],
)
def test_a_trace_is_named_as_it_was_when_it_was_replayed(trace: kept.Kept, words: str) -> None:
    """With its source, where that was told."""
    assert words in page({"replay": {**load("replay"), "trace": trace}})


def test_the_overhead_is_told_beside_a_deferred_of_the_same_round() -> None:
    """The median of the ratios is not the ratio of the medians."""
    text = overhead_page.section(overhead())
    assert "Medians of 3 rounds of 3,200 requests" in text
    assert row_of(text, "a Deferred")[1:] == ["2.00", "1.00", "1.00", "1.00"]
    assert row_of(text, "submit")[1:] == ["4.00", "2.00", "1.00", "2.05"]


def test_a_load_test_sends_the_body_of_its_workload(tmp_path: Path) -> None:
    """With the type of that, and what else it is told."""
    command = load_test(
        WORKLOADS["B"], "http://x/", tmp_path, tmp_path / "figures.json", "--duration", "9"
    )
    options: dict[Any, Any] = dict(zip(command[5::2], command[6::2], strict=True))
    assert command[2:5] == ["scripts.cli", "loadtest", "http://x/"]
    assert options == {
        "--body": tmp_path / "photo.jpg", "--content-type": "image/jpeg", "--warmup": "3.0",
        "--json": tmp_path / "figures.json", "--duration": "9",
    }  # fmt: skip


def test_a_command_is_told_as_it_ran_but_for_places(tmp_path: Path) -> None:
    """Of files the names stay; a URL and where the figures went are of that run alone."""
    trace = tmp_path / "a trace.txt"
    command = load_test(
        WORKLOADS["A"], "http://x:99/", tmp_path, tmp_path / "load.json", "--arrivals", trace
    )
    assert shown(command) == (
        "tensorferry loadtest URL --body small.bin --content-type application/octet-stream"
        " --warmup 3.0 --json load.json --arrivals 'a trace.txt'"
    )


def test_a_row_keeps_what_the_page_shows() -> None:
    """And no more: examples of bodies and the URL stay out."""
    figures = {"url": "http://x/", "rate": 5.0, "examples": {"429": "later"}, "warnings": ["late"]}
    expected = {
        "name": "60%", "workload": "B", "command": "load", "rate": 5.0, "warnings": ["late"]
    }  # fmt: skip
    assert row("60%", "B", Loaded("load", figures)) == expected


def test_a_trace_is_as_fast_as_makes_the_rate() -> None:
    """Ten arrivals in twenty seconds, three times as fast, are 1.5 a second."""
    assert speed_for(1.5, 20.0, 10) == 3.0


def test_the_kernel_tells_what_each_thread_has_used() -> None:
    """Of this process: at least its first thread has used something."""
    name, seconds = cpu_seconds(os.getpid())[os.getpid()]
    assert name
    assert seconds > 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (number(None), "-"),
        (number(12345.6), "12,346"),
        (figure(0.125), "0.12"),
        (figure(99.96), "100.0"),
        (figure(1234.5), "1,234"),
        (percent(0.0949), "9.5 %"),
        (percent(0.0), "0 %"),
        (percent(0.0996), "10 %"),
        (percent(1), "100 %"),
        (listed(["a"]), "a"),
        (listed(["a", "b", "c"]), "a, b and c"),
        (table(["a", "b"], [["1", "2"]]), "| a | b |\n| --- | ---: |\n| 1 | 2 |"),
    ],
)
def test_figures_are_written_with_as_many_digits_as_they_deserve(text: str, expected: str) -> None:
    """Three at least."""
    assert text == expected
