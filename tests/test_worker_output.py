"""The lines of a worker's output: server/workers/output.py."""

import pytest
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from server.workers.output import MAX_LINE_BYTES, OutputLines

LONG = b"x" * MAX_LINE_BYTES

#: Chunks as they arrive, and the lines until the connection is lost.
OUTPUTS: dict[str, tuple[list[bytes], list[bytes]]] = {
    "whole lines": ([b"a\nbc\n\nd\n"], [b"a", b"bc", b"", b"d"]),
    "in pieces": ([b"a", b"b\nc", b"\n"], [b"ab", b"c"]),
    "nothing": ([], []),
    "last line without an end": ([b"a\nkilled at"], [b"a", b"killed at"]),
    "the longest line": ([LONG, b"\n", b"a\n"], [LONG, b"a"]),
    "a longer line": ([LONG + b"yz\na\n"], [LONG, b"yz", b"a"]),
    "a longer line behind another": ([b"a\n" + LONG + b"y\nb\n"], [b"a", LONG, b"y", b"b"]),
    "no end at all": ([b"x" * 65536] * 48, [LONG] * 3),
}


@pytest.mark.parametrize(("chunks", "lines"), OUTPUTS.values(), ids=OUTPUTS)
def test_each_line_is_passed_on_once(chunks: list[bytes], lines: list[bytes]) -> None:
    """In pieces if it is too long; nothing is lost, nothing is repeated."""
    found: list[bytes] = []
    output = OutputLines(found.append)
    for chunk in chunks:
        output.dataReceived(chunk)
    output.connectionLost(Failure(ConnectionDone()))
    assert found == lines
