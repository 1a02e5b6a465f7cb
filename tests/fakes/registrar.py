"""A registry that keeps one record and answers when the test allows it."""

from twisted.internet.defer import Deferred, succeed

from server.discovery.engine import EngineError
from server.discovery.worker_record import WorkerRecord


class FakeRegistrar:
    """A `server.discovery.engine.Registrar` whose calls and record the test reads."""

    def __init__(self) -> None:
        self.record: WorkerRecord | None = None
        self.calls: list[str] = []
        self.refusal: Exception | None = None  #: the error of each call while it is set
        self.hangs = False  #: whether calls wait in `waiting`
        self.waiting: list[Deferred[None]] = []

    def put(self, record: WorkerRecord) -> Deferred[None]:
        """Keep *record*."""
        return self._answer("put", record)

    def withdraw(self) -> Deferred[None]:
        """Remove the record."""
        return self._answer("withdraw", None)

    def close(self) -> Deferred[None]:
        """Record the call."""
        self.calls.append("close")
        return succeed(None)

    def go_away(self) -> None:
        """Fail each call from now on; the lease of the record ends."""
        self.refusal, self.record = EngineError("connection refused"), None

    def _answer(self, call: str, record: WorkerRecord | None) -> Deferred[None]:
        assert not any(not it.called for it in self.waiting), "a second call at a time"
        self.calls.append(call)
        answer: Deferred[None] = Deferred()
        answer.addCallback(lambda _: setattr(self, "record", record))
        self.waiting.append(answer)
        if not self.hangs:
            self.go_on()
        return answer

    def go_on(self) -> None:
        """Answer the calls that wait."""
        waiting, self.waiting = self.waiting, []
        for answer in waiting:
            if answer.called:  # it was cancelled
                continue
            if self.refusal is None:
                answer.callback(None)
            else:
                answer.errback(self.refusal)
