"""The header traceparent: server/http/trace_context.py."""

import pytest

from server.http.trace_context import TraceContext, trace_context

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
VALID = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize(
    "header",
    [
        VALID,
        f"00-{TRACE}-{SPAN}-00",
        f"cc-{TRACE}-{SPAN}-01",
        f"cc-{TRACE}-{SPAN}-01-what-comes-later",
        f"01-{TRACE}-{SPAN}-01-",
    ],
)
def test_a_valid_header_has_a_trace_and_a_span(header: str) -> None:
    """Of this version, or of a later one, which may append fields."""
    assert trace_context([header.encode()]) == TraceContext(TRACE, SPAN)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "00",
        VALID.upper(),
        VALID + "-later",
        VALID + "1",
        VALID[:-1],
        VALID + "\n",
        f"ff-{TRACE}-{SPAN}-01",
        f"0-{TRACE}-{SPAN}-01",
        f"cc-{TRACE}-{SPAN}-01.later",
        f"cc-{TRACE}-{SPAN}-01-a\nb",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[:-1]}g-{SPAN}-01",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}0-01",
        f"00_{TRACE}_{SPAN}_01",
        f"00-{TRACE}-{SPAN}-0x",
    ],
)
def test_an_invalid_header_is_ignored(header: str) -> None:
    """So that no text of a client gets into the log unchecked."""
    assert trace_context([header.encode()]) is None


def test_one_header_is_needed() -> None:
    """Of two, neither is certain."""
    assert trace_context(None) is trace_context([]) is None
    assert trace_context([VALID.encode()] * 2) is None
