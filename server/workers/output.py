"""
Split the output of a worker process into lines.

Runs on the reactor thread.
"""

from collections.abc import Callable

from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

#: A longer line is passed on in pieces of this size.
MAX_LINE_BYTES = 2**20


class OutputLines(Protocol):
    """Calls *on_line* with each line, without its end; the last one may have none."""

    def __init__(self, on_line: Callable[[bytes], object]) -> None:
        self._on_line = on_line
        self._line = bytearray()  #: the line whose end has not arrived

    def dataReceived(self, data: bytes) -> None:
        """Called with each chunk of the output."""
        first, *others = data.split(b"\n")
        self._append(first)
        for other in others:
            self._pass_on(len(self._line))
            self._append(other)

    def _append(self, data: bytes) -> None:
        self._line += data
        while len(self._line) > MAX_LINE_BYTES:
            self._pass_on(MAX_LINE_BYTES)

    def _pass_on(self, size: int) -> None:
        line = bytes(self._line[:size])
        del self._line[:size]
        self._on_line(line)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Called when the process has ended, and all its output has arrived."""
        if self._line:
            self._pass_on(len(self._line))
