"""
Write figures and tables as Markdown.

Pure.  A figure that was not measured is a dash.
"""

from collections.abc import Iterable, Sequence

DASH = "-"


def number(value: float | None, digits: int = 0) -> str:
    """Return *value* with *digits* decimals and its thousands apart."""
    return DASH if value is None else f"{value:,.{digits}f}"


def figure(value: float | None) -> str:
    """Return *value* with three digits at least, however large it is."""
    if value is None:
        return DASH
    return number(value, 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2)


def percent(share: float | None) -> str:
    """Return *share* of 1 in percent, with a decimal below 10 %."""
    if share is None:
        return DASH
    return f"{number(share * 100, 0 if not share or share >= 0.0995 else 1)} %"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], words: int = 1) -> str:
    """Return a table; the first *words* columns hold words, the others figures."""
    sides = ["---"] * words + ["---:"] * (len(head) - words)
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, sides, *rows))


def bold(row: Sequence[str]) -> list[str]:
    """Return *row* with every cell in bold type."""
    return [f"**{cell}**" for cell in row]


def listed(words: Sequence[str]) -> str:
    """Return *words* as in a sentence: with commas, and an "and" before the last."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def paragraphs(*parts: str) -> str:
    """Return those of *parts* that are not empty, with a blank line in between."""
    return "\n\n".join(part for part in parts if part)
