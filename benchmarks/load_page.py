"""
Write what load tests of this server alone have shown: rates, latencies, what was refused.

Pure: a measurement in, Markdown out.  A row holds its name and figures of
`scripts.load.summary.Summary`; a column that no row has a figure for is left out.
"""

from collections.abc import Callable, Mapping

from benchmarks.kept import Kept
from benchmarks.markdown import figure, number, paragraphs, percent, table

#: The figures that are kept and shown: heading, and how they are written.
COLUMNS: dict[str, tuple[str, Callable[[float | None], str]]] = {
    "offered": ("offered/s", figure),
    "rate": ("answers/s", figure),
    "ceiling": ("ceiling/s", figure),
    "goodput": ("good/s", figure),
    "good_share": ("good, of sent", percent),
    "p50_ms": ("p50 ms", figure),
    "p99_ms": ("p99 ms", figure),
    "p999_ms": ("p99.9 ms", figure),
    "max_ms": ("max ms", figure),
    "mean_rows": ("rows a batch", figure),
    "refused": ("refused", number),
    "refused_p99_ms": ("p99 ms of those", figure),
    "errors": ("errors", number),
    "send_lag_p99_ms": ("sent late, p99 ms", figure),
    "client_cores": ("cores of the client", figure),
}


def section(
    kept: Kept, heading: str, words: str, ceilings: Mapping[str, float | None] | None = None
) -> str:
    """
    Return a section under *heading* that begins with *words*.

    *ceilings* are the answers a second that no server can exceed, by workload.
    """
    known = ceilings or {}
    rows: list[Kept] = [
        {**row, "ceiling": known.get(row.get("workload", ""))} for row in kept["rows"]
    ]
    keys = [key for key in COLUMNS if any(row.get(key) is not None for row in rows)]
    warnings = [f"- {row['name']}: {each}" for row in rows for each in row.get("warnings", ())]
    return paragraphs(
        f"## {heading}",
        words,
        table(
            ["load", *(COLUMNS[key][0] for key in keys)],
            ([row["name"], *(COLUMNS[key][1](row.get(key)) for key in keys)] for row in rows),
        ),
        "\n".join(map(_command, rows)),
        paragraphs("What the load test itself warns of:", "\n".join(warnings)) if warnings else "",
    )


def _command(row: Kept) -> str:
    server = f", against `{row['server']}`" if "server" in row else ""
    return f"- {row['name']}: `{row['command']}`{server}"
