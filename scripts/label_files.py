"""
Label files one behind the other with one Session kept open.

Images that wait at the same time share a batch; answers are printed in the order of the names.
"""

import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import click
from twisted.internet.defer import Deferred, ensureDeferred, maybeDeferred
from twisted.python.failure import Failure

from model.errors import ModelError
from model.execution.decode_pool import DecodePool
from scripts.image_files import content_of
from server.clock import MonotonicTime
from server.inference import Inference, Prediction
from server.model_host import ModelHost
from server.settings.option import printable
from server.settings.table import Settings

#: Images that may be under way at once; no more names are read meanwhile.
AHEAD = 64


class LabelPrinter:
    """
    Labels files as their names come, and prints the answers in that order.

    Everything runs on the reactor thread.  *answered* is called once for each name.
    """

    def __init__(
        self,
        inference: Inference,
        k: int,
        *,
        show_names: bool,
        answered: Callable[[], object],
    ) -> None:
        self._inference = inference
        self._k = min(k, len(inference.model.labels))
        self._show_names = show_names
        self._answered = answered
        self._lines: deque[tuple[str, list[Prediction | Failure]]] = deque()
        self._ended: Callable[[], object] | None = None
        self._silent = False
        #: Whether any file could not be labelled.
        self.failed = False

    def take(self, name: str) -> Deferred[None]:
        """Begin with the file *name*; the Deferred fails where nothing can be printed any more."""
        outcome: list[Prediction | Failure] = []
        self._lines.append((name, outcome))
        labelled = maybeDeferred(lambda: self._inference.classify(content_of(name), self._k))
        return labelled.addBoth(outcome.append).addCallback(lambda _: self._print())

    def end(self, ended: Callable[[], object]) -> None:
        """Call *ended* when the last answer has been printed; no more names come."""
        self._ended = ended
        self._print()

    def silence(self) -> None:
        """Print nothing more."""
        self._silent = True

    def _print(self) -> None:
        if self._silent:
            return
        while self._lines and self._lines[0][1]:
            name, (outcome,) = self._lines.popleft()
            self._print_one(click.format_filename(name), outcome)
            self._answered()
        sys.stdout.flush()
        if self._ended is not None and not self._lines:
            self._ended()

    def _print_one(self, name: str, outcome: Prediction | Failure) -> None:
        if not isinstance(outcome, Prediction):
            self.failed = True
            reason = getattr(outcome.value, "strerror", None) or outcome.getErrorMessage()
            click.echo(f"{name}: {reason}", err=True)
            return
        if self._show_names:
            click.echo(f"{name}:")
        for label, score in outcome.classes:
            click.echo(f"{label} (score = {score:.5f})")


class LabelRun:
    """
    Loads the model, labels all files, and ends the process's reactor.

    *names* is read on a thread of its own, a little ahead of the answers.
    """

    def __init__(self, settings: Settings, names: Iterable[str], *, show_names: bool) -> None:
        from twisted.internet import reactor as installed  # noqa: PLC0415 - importing installs it

        reactor: Any = installed  # Any: no type says that it has timers and threads at once
        self._reactor = reactor
        self._settings = settings
        self._names = names
        self._printer: LabelPrinter | None = None
        self._show_names = show_names
        self._slots = threading.Semaphore(AHEAD)
        self._host = ModelHost(
            settings,
            clock=MonotonicTime(reactor),
            call_from_thread=reactor.callFromThread,
            pool=DecodePool(reactor.callFromThread, settings.decode_threads),
            on_progress=_say_to_person,
        )
        # Until all is done: a signal may end the run before that.
        self._exit_code = 1
        self._ending = False

    def run(self) -> int:
        """Return the exit code, 1 if any file was not labelled; called once, on the main thread."""
        self._reactor.callWhenRunning(self._begin)
        self._reactor.addSystemEventTrigger("before", "shutdown", self._stop)
        self._reactor.run()
        return self._exit_code

    def _begin(self) -> None:
        ensureDeferred(self._start()).addErrback(self._give_up)

    async def _start(self) -> None:
        inference = await self._host.start()
        if not inference.model.labels:
            raise ModelError(f"{inference.model.full_name} has no labels: --labels names the file")
        self._printer = LabelPrinter(
            inference,
            inference.model.top,
            show_names=self._show_names,
            answered=self._slots.release,
        )
        # A daemon, for it may wait for a line that never comes when a signal ends the program.
        reader = threading.Thread(
            target=self._read, args=(self._printer,), name="names", daemon=True
        )
        reader.start()

    def _read(self, printer: LabelPrinter) -> None:
        """Hand the names to the reactor, on a thread of their own."""
        try:
            for name in self._names:
                self._slots.acquire()
                self._reactor.callFromThread(self._take, printer, name)
        except OSError:
            self._reactor.callFromThread(self._give_up, Failure())
        else:
            self._reactor.callFromThread(printer.end, lambda: self._finish(printer))

    def _take(self, printer: LabelPrinter, name: str) -> None:
        printer.take(name).addErrback(self._give_up)

    def _finish(self, printer: LabelPrinter) -> None:
        self._exit_code = int(printer.failed)
        self._end()

    def _give_up(self, failure: Failure) -> None:
        """Say why, unless it is that nobody reads what is printed, and end."""
        if self._ending:
            return  # whatever failed did so under the end's feet
        if failure.check(BrokenPipeError):
            # The interpreter flushes stdout once more at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        else:
            expected = failure.check(ModelError, OSError)
            message = printable(failure.getErrorMessage())
            click.echo(message if expected else failure.getTraceback(), err=True)
        self._end()

    def _end(self) -> None:
        if not self._ending:
            self._ending = True
            self._reactor.stop()

    def _stop(self) -> Deferred[None]:
        """Leave nothing behind; a signal comes here without `_end`."""
        self._ending = True
        if self._printer is not None:
            self._printer.silence()
        self._host.abort()
        return ensureDeferred(self._host.stop())


def _say_to_person(line: str) -> None:
    """Write *line* to stderr where that is a terminal, warnings always: scripts read them there."""
    if sys.stderr.isatty() or line.startswith("warning: "):
        click.echo(line, err=True)
