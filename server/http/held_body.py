"""
A request body in memory, whose bytes are counted while it is held.

Pure; may import neither twisted.web nor Klein.
"""

from server.http.limits import BodyLimits

#: Parts below this size, in bytes, are joined as they arrive: a part costs memory of its own.
MIN_PART_BYTES = 4096


class HeldBody:
    """A body that is being received."""

    def __init__(self, limits: BodyLimits) -> None:
        self._limits = limits
        self._parts: list[bytes | bytearray] = []
        self._held = 0

    def add(self, data: bytes) -> None:
        """Hold *data*, too; raises the errors of `BodyLimits.hold`."""
        self._limits.hold(self._held, len(data))
        self._held += len(data)
        parts = self._parts
        if len(data) >= MIN_PART_BYTES or not parts:
            parts.append(data)
        elif isinstance(parts[-1], bytearray):
            parts[-1] += data
        else:
            parts.append(bytearray(data))

    def take(self) -> bytes:
        """Return the whole body, and keep no part of it; its bytes count until `release`."""
        parts, self._parts = self._parts, []
        if len(parts) == 1 and isinstance(parts[0], bytes):
            return parts[0]
        return b"".join(parts)

    def release(self) -> None:
        """Drop the body, and count its bytes no more; a second call does nothing."""
        self._parts = []
        self._limits.release(self._held)
        self._held = 0
