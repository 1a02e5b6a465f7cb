"""
Limit the bytes of request bodies: of each body, and of all bodies that are held at once.
"""

from batcher.error_kind import ErrorKind, RequestError


class BodyTooLarge(RequestError):
    """One body exceeds its limit."""

    kind = ErrorKind.TOO_LARGE


class TooManyBytesHeld(RequestError):
    """All bodies together exceed their limit; they soon need less memory."""

    kind = ErrorKind.OVERLOADED
    retry_after = 0.0


class BodyLimits:
    """
    Counts the bytes of all bodies that the server holds.

    *max_body* limits the bytes of one body, *max_held* those of all bodies together.
    """

    def __init__(self, *, max_body: int, max_held: int) -> None:
        self.max_body = max_body
        self.max_held = max_held
        self.held = 0

    def check_length(self, length: int | None) -> None:
        """
        Raise `BodyTooLarge` if *length*, in bytes, is over the limit.

        None is an undeclared length.
        """
        if length is not None and length > self.max_body:
            raise BodyTooLarge(f"the body is {length} bytes, the limit is {self.max_body}")

    def hold(self, already: int, more: int) -> None:
        """
        Count *more* bytes of a body of which *already* bytes are held.

        Raises `BodyTooLarge` if the body would exceed `max_body`, and `TooManyBytesHeld` if all
        bodies together would exceed `max_held`.  If an error is raised, nothing is counted.
        """
        if already + more > self.max_body:
            raise BodyTooLarge(f"the body is more than {self.max_body} bytes, which is the limit")
        if self.held + more > self.max_held:
            raise TooManyBytesHeld(
                f"the server holds {self.held} bytes of requests, the limit is {self.max_held}"
            )
        self.held += more

    def release(self, count: int) -> None:
        """Subtract *count* bytes, which are no longer held."""
        self.held -= count
