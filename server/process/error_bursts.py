"""
Log each of many equal errors once: the first with its traceback, and how often it is repeated.

A log observer before the one that writes.  Errors are equal if their class, the place that raised
them, the message and the model are equal; the text of an error is not compared, since it may hold
values of the request.
"""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from twisted.logger import ILogObserver, LogEvent, Logger
from twisted.python.failure import Failure
from zope.interface import implementer

#: Seconds until the first line that counts the repetitions of an error, and between later ones.  An
#: error that was not repeated for that long is logged with its traceback again.
FIRST_INTERVAL_SECONDS = 10.0
INTERVAL_SECONDS = 60.0

#: The most kinds of errors that are counted separately; errors of further kinds are counted
#: together.
MAX_KINDS = 64

#: The most causes of an error that are compared.
_MAX_CAUSES = 8

_Key = tuple[object, ...]
_OTHERS: _Key = ()


@dataclass(slots=True)
class _Burst:
    """An error that was logged, and its repetitions since the last line about it."""

    text: str  #: what is repeated, in a line
    model: object  #: the name in the events, None if they have none
    version: object
    since: float  #: the time of the last line about it, in seconds
    interval: float = FIRST_INTERVAL_SECONDS  #: seconds until the next one
    count: int = 0
    request_id: str | None = None  #: that of the last repetition


@implementer(ILogObserver)
class ErrorBursts:
    """Passes events on to *observer*, except for repetitions of an error."""

    def __init__(self, observer: ILogObserver, seconds: Callable[[], float]) -> None:
        """*seconds* returns the time of a monotonic clock; call `report` every few seconds."""
        self._observer = observer
        self._seconds = seconds
        self._log = Logger(namespace=__name__, observer=observer)
        self._bursts: dict[_Key, _Burst] = {}
        # Reentrant: a finalizer may log an error while another one is counted.
        self._lock = threading.RLock()

    def __call__(self, event: LogEvent) -> None:
        """Called with each event, on the thread that logs it."""
        failure = event.get("log_failure")
        if not isinstance(failure, Failure) or self._is_new(event, failure):
            self._observer(event)

    def _is_new(self, event: LogEvent, failure: Failure) -> bool:
        """Whether *event* is the first of its kind; if not, count it."""
        key, now = _key(event, failure), self._seconds()
        with self._lock:
            burst = self._bursts.get(key)
            if burst is None and len(self._bursts) < MAX_KINDS:
                self._bursts[key] = _Burst(
                    _text(failure), event.get("model"), event.get("version"), now
                )
                return True
            if burst is None:
                burst = self._bursts.setdefault(
                    _OTHERS, _Burst("errors of other kinds", None, None, now)
                )
            burst.count += 1
            burst.request_id = event.get("request_id")
            return False

    def report(self, *, all_of_them: bool = False) -> None:
        """Log the repetitions of each error whose interval is over, or *all_of_them*."""
        now = self._seconds()
        with self._lock:
            # A copy, because a finalizer may log an error during this loop.
            due = [
                (key, it)
                for key, it in self._bursts.copy().items()
                if all_of_them or now - it.since >= it.interval
            ]
            for key, burst in due:
                if not burst.count:
                    del self._bursts[key]
            lines = [self._counted(burst, now) for _, burst in due if burst.count]
        for fields in lines:
            self._log.error("repeated {count} times in {seconds:.0f} s: {text}{where}", **fields)

    @staticmethod
    def _counted(burst: _Burst, now: float) -> dict[str, object]:
        """Return the fields of the line about *burst*, and start its next interval."""
        fields = {
            "count": burst.count,
            "seconds": now - burst.since,
            "text": burst.text,
            "where": f"; last in request {burst.request_id}" if burst.request_id else "",
            "request_id": burst.request_id,
            "model": burst.model,
            "version": burst.version,
        }
        burst.count, burst.since, burst.interval = 0, now, INTERVAL_SECONDS
        return fields


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    for _ in range(_MAX_CAUSES):
        if error is None:
            return
        yield error
        error = error.__cause__


def _key(event: LogEvent, failure: Failure) -> _Key:
    """Return what equal errors have in common."""
    errors = list(_causes(failure.value))
    traceback = failure.getTracebackObject()
    if len(errors) > 1:  # an error that is raised for another one has the place of that
        traceback = errors[-1].__traceback__ or traceback
    place: tuple[object, ...] = ()
    while traceback is not None:
        place = (traceback.tb_frame.f_code.co_filename, traceback.tb_lineno)
        traceback = traceback.tb_next
    kinds = tuple(f"{type(it).__module__}.{type(it).__qualname__}" for it in errors)
    named = (event.get("model"), event.get("version"))
    return (event.get("log_namespace"), event.get("log_format"), *named, kinds, place)


def _text(failure: Failure) -> str:
    """Return the class of the error, and the first line of its text."""
    first, _, _ = failure.getErrorMessage().partition("\n")
    return f"{failure.type.__name__ if failure.type else ''}: {first[:200]}"
