"""
Label image files with one loaded model.

Images that wait at the same time share a batch; labels are printed in the order of the file names.
"""

import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import click
import numpy as np
from twisted.internet.defer import Deferred, ensureDeferred, maybeDeferred
from twisted.python.failure import Failure

from model.errors import ModelError
from model.execution.decode_pool import DecodePool
from scripts.image_files import content_of
from scripts.standard_output import output_problem
from server.call import Call
from server.clock import MonotonicTime
from server.inference import Inference
from server.model_host import ModelHost, lane_pool, stop_serving
from server.settings.option import printable
from server.settings.table import Settings

#: The best labels of an image, each with its score.
Labels = list[tuple[str, np.floating]]

#: The most images in flight; at that number, no further name is read.
MAX_IMAGES_AHEAD = 64


class LabelPrinter:
    """
    Labels image files, and prints the labels in the order in which `label` was called.

    Reactor thread only.  *on_printed* is called each time the labels or the error of a file have
    been printed.
    """

    def __init__(
        self,
        inference: Inference,
        k: int,
        *,
        show_names: bool,
        on_printed: Callable[[], object],
    ) -> None:
        self._inference = inference
        self._k = min(k, len(inference.model.labels))
        self._show_names = show_names
        self._on_printed = on_printed
        self._lines: deque[tuple[str, list[Labels | Failure]]] = deque()
        self._on_end: Callable[[], object] | None = None
        self._silent = False
        #: Whether a file could not be labelled.
        self.failed = False

    def label(self, name: str) -> Deferred[None]:
        """Label the file *name*; the Deferred fails if standard output cannot be written."""
        outcome: list[Labels | Failure] = []
        self._lines.append((name, outcome))
        labelled = maybeDeferred(lambda: self._classify(content_of(name)))
        return labelled.addBoth(outcome.append).addCallback(lambda _: self._print())

    def _classify(self, data: bytes) -> Deferred[Labels]:
        model = self._inference.model
        prepare = partial(model.prepare_image, data)
        return self._inference.run(Call(prepare, partial(model.finish_image, k=self._k)))

    def end(self, ended: Callable[[], object]) -> None:
        """Call *ended* when all labels are printed; `label` must not be called after `end`."""
        self._on_end = ended
        self._print()

    def silence(self) -> None:
        """Print no labels and no errors from now on."""
        self._silent = True

    def _print(self) -> None:
        if self._silent:
            return
        while self._lines and self._lines[0][1]:
            name, (outcome,) = self._lines.popleft()
            self._print_one(click.format_filename(name), outcome)
            self._on_printed()
        sys.stdout.flush()
        if self._on_end is not None and not self._lines:
            self._on_end()

    def _print_one(self, name: str, outcome: Labels | Failure) -> None:
        if isinstance(outcome, Failure):
            self.failed = True
            reason = getattr(outcome.value, "strerror", None) or outcome.getErrorMessage()
            click.echo(f"{name}: {reason}", err=True)
            return
        if self._show_names:
            click.echo(f"{name}:")
        for label, score in outcome:
            click.echo(f"{label} (score = {score:.5f})")


class LabelRun:
    """
    Loads the model, labels all files, and stops the reactor.

    A thread of its own reads *names*, and has read at most `MAX_IMAGES_AHEAD` names whose labels
    are not printed.
    """

    def __init__(self, settings: Settings, names: Iterable[str], *, show_names: bool) -> None:
        from twisted.internet import reactor as installed  # noqa: PLC0415 - the import installs it

        reactor: Any = installed  # Any: no type declares both timers and threads
        self._reactor = reactor
        self._settings = settings
        self._names = names
        self._printer: LabelPrinter | None = None
        self._show_names = show_names
        self._slots = threading.Semaphore(MAX_IMAGES_AHEAD)
        clock = MonotonicTime(reactor)
        self._pool = DecodePool(reactor.callFromThread, settings.decode_threads)
        self._lanes = lane_pool(settings, clock, reactor.callFromThread)
        self._host = ModelHost(
            settings, clock=clock, lanes=self._lanes, pool=self._pool, on_progress=_report_progress
        )
        # 1 until all files are labelled: a signal may end the run before.
        self._exit_code = 1
        self._ending = False

    def run(self) -> int:
        """
        Run the reactor until all files are labelled; return the exit code, 0 if no file failed.

        Called once, on the main thread.
        """
        self._reactor.callWhenRunning(self._begin)
        self._reactor.addSystemEventTrigger("before", "shutdown", self._stop)
        self._reactor.run()
        return self._exit_code

    def _begin(self) -> None:
        ensureDeferred(self._start()).addErrback(self._fail)

    async def _start(self) -> None:
        self._pool.start()
        inference = await self._host.start()
        if not inference.model.labels:
            raise ModelError(
                f"{inference.model.full_name} has no labels: name a file with --labels"
            )
        self._printer = LabelPrinter(
            inference,
            inference.model.top,
            show_names=self._show_names,
            on_printed=self._slots.release,
        )
        # A daemon, because it may still wait for a line when a signal ends the program.
        reader = threading.Thread(
            target=self._read, args=(self._printer,), name="names", daemon=True
        )
        reader.start()

    def _read(self, printer: LabelPrinter) -> None:
        """Pass the names to the reactor thread; runs on the thread "names"."""
        try:
            for name in self._names:
                self._slots.acquire()
                self._reactor.callFromThread(self._label, printer, name)
        except OSError:
            self._reactor.callFromThread(self._fail, Failure())
        else:
            self._reactor.callFromThread(printer.end, lambda: self._finish(printer))

    def _label(self, printer: LabelPrinter, name: str) -> None:
        printer.label(name).addErrback(self._fail)

    def _finish(self, printer: LabelPrinter) -> None:
        self._exit_code = int(printer.failed)
        self._end()

    def _fail(self, failure: Failure) -> None:
        """Print the error, unless standard output is a closed pipe, and stop the reactor."""
        if self._ending:
            return  # the failure is a consequence of the end
        error = failure.value
        problem = output_problem(error) if isinstance(error, OSError) else ""
        if problem and not failure.check(BrokenPipeError):
            click.echo(f"Error: {problem}", err=True)
        elif not problem:
            expected = failure.check(ModelError, OSError)
            message = printable(failure.getErrorMessage())
            click.echo(message if expected else failure.getTraceback(), err=True)
        self._end()

    def _end(self) -> None:
        if not self._ending:
            self._ending = True
            self._reactor.stop()

    def _stop(self) -> Deferred[None]:
        """Called before the reactor stops, after `_end` or a signal: stop the model and threads."""
        self._ending = True
        if self._printer is not None:
            self._printer.silence()
        self._lanes.abort()
        return ensureDeferred(stop_serving([self._host], self._lanes, self._pool))


def _report_progress(line: str) -> None:
    """Write *line* to standard error if it is a warning or standard error is a terminal."""
    if sys.stderr.isatty() or line.startswith("warning: "):
        click.echo(line, err=True)
