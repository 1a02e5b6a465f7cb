"""docs/metrics.md: its table and its queries name the metrics that there are."""

import re
from pathlib import Path

from server.metrics.declared import METRICS, Kind

PAGE = (Path(__file__).parents[1] / "docs" / "metrics.md").read_text(encoding="utf-8")

#: The names of the samples of each metric, with their labels.
SAMPLES = {
    f"{metric.name}{suffix}": {*metric.labels, *({"le"} if suffix == "_bucket" else ())}
    for metric in METRICS
    for suffix in (("_bucket", "_sum", "_count") if metric.kind is Kind.HISTOGRAM else ("",))
}


def test_the_table_has_every_metric() -> None:
    """In the order of the text of a scrape, with its help text."""
    table = "\n".join(
        f"| `{it.name}` | {it.kind.value} | {', '.join(it.labels)} | {it.combine.value} "
        f"| {it.help} |"
        for it in METRICS
    )
    head = "| name | type | labels | workers | meaning |\n|---|---|---|---|---|"
    assert PAGE.endswith(f"{head}\n{table}\n")


def test_the_queries_name_samples_and_labels_that_there_are() -> None:
    """Each query ends within its backticks, and groups by labels of its sample."""
    section = PAGE.partition("## Queries")[2].partition("## All metrics")[0]
    queries = re.findall(r"`([^`]+)`", section)
    assert len(queries) >= 9
    for query in queries:
        samples = re.findall(r"tensorferry_\w+", query)
        assert [it for it in samples if it not in SAMPLES] == [], query
        grouped = {label for by in re.findall(r"by \(([^)]*)\)", query) for label in by.split(", ")}
        assert all(grouped <= SAMPLES[it] for it in samples), query
        assert query.count("(") == query.count(")"), query
