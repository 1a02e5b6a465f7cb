"""Compare the series that expressions select with those of a server's ``GET /metrics``."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

#: A metric of the server in an expression or a page, with its matchers, if it has any.
SELECTOR = re.compile(r"\b((?:tensorferry|process|python_gc)_[a-z_]*[a-z])\b(?:\{([^}]*)\})?")

MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')

#: What follows the labels of an aggregation or a comparison.
GROUPING = re.compile(r"\b(?:by|on|without|group_left)\s*\(([^)]*)\)")

#: What Prometheus adds to each series, and to those of buckets.
ADDED = {"job", "instance", "namespace", "le"}


@dataclass(frozen=True, slots=True)
class Series:
    """One series of a server."""

    name: str
    labels: Mapping[str, str]


def series_of(text: str) -> list[Series]:
    """Return the series in the answer *text* of ``GET /metrics``."""
    return [
        Series(sample.name, sample.labels)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    ]


@dataclass(frozen=True, slots=True)
class Selector:
    """The part of an expression that selects series."""

    name: str
    matchers: str

    def selects(self, series: Series) -> bool:
        """Return whether *series* is selected; labels that Prometheus adds match anything."""
        if series.name != self.name:
            return False
        for label, operator, value in MATCHER.findall(self.matchers):
            if label in ADDED:
                continue
            if label not in series.labels:
                return False
            pattern = value if operator.endswith("~") else re.escape(value)
            equal = re.fullmatch(re.sub(r"\$\w+", ".*", pattern), series.labels[label])
            if bool(equal) is operator.startswith("!"):
                return False
        return True


def selectors(text: str) -> Iterator[Selector]:
    """Yield the selectors in *text*: an expression, a page, or a file of these."""
    for name, matchers in SELECTOR.findall(text):
        yield Selector(name, matchers)


def unknown_labels(expression: str, series: list[Series]) -> set[str]:
    """Return the labels by which *expression* groups, and which none of its metrics has."""
    grouped = {
        label.strip() for found in GROUPING.findall(expression) for label in found.split(",")
    }
    names = {it.name for it in selectors(expression)}
    known = {label for it in series if it.name in names for label in it.labels}
    return grouped - known - ADDED - {""}
