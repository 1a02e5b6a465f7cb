"""
`tensorferry classify`: label pictures from the command line with the server's own parts.

One Session is kept open.  File names come from ``--image`` or, one a line, from stdin; pictures
that wait at the same time share a batch, and answers are printed in the order of the names.
"""

import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from server.options import SettingsCommand, click_options
from server.setting_sources import CommandLine, resolve
from server.settings import BATCHING, DEVICE, MODEL, Settings, SettingsError

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from server.inference import Classifier, Prediction

#: Pictures that may be under way at once; no more names are read meanwhile.
AHEAD = 64


@click.command(cls=SettingsCommand)
@click_options(MODEL, DEVICE, BATCHING)
@click.option(
    "--image",
    "images",
    multiple=True,
    metavar="FILE",
    help="A picture to label; repeatable. Without it, file names are read from stdin, one a line.",
)
def classify(command_line: CommandLine, images: tuple[str, ...]) -> None:
    """
    Print the best labels of pictures, as label_image does.

    A file that is no picture gets a line on stderr, and the exit code is 1 at the end.
    """
    try:
        settings = resolve(command_line, os.environ).settings
    except SettingsError as error:
        raise click.UsageError(str(error)) from error
    names: Iterable[str] = images or (line.rstrip("\n") for line in sys.stdin)
    sys.exit(label_files(settings, names, show_names=len(images) != 1))


class LabelPrinter:
    """
    Labels files as their names come, and prints the answers in that order.

    Everything runs on the reactor thread.  *answered* is called once for each name.
    """

    def __init__(
        self,
        classifier: "Classifier",
        k: int,
        *,
        show_names: bool,
        answered: Callable[[], object],
    ) -> None:
        self._classifier = classifier
        self._k = min(k, len(classifier.model.labels))
        self._show_names = show_names
        self._answered = answered
        self._lines: deque[tuple[str, list[Prediction | Failure]]] = deque()
        self._ended: Callable[[], object] | None = None
        #: Whether any file could not be labelled.
        self.failed = False

    def take(self, name: str) -> None:
        """Begin with the file *name*."""
        from twisted.internet.defer import maybeDeferred  # noqa: PLC0415 - see label_files

        outcome: list[Prediction | Failure] = []
        self._lines.append((name, outcome))
        labelled = maybeDeferred(
            lambda: self._classifier.classify(Path(name).read_bytes(), self._k)
        )
        labelled.addBoth(outcome.append)
        labelled.addBoth(lambda _: self._print())

    def end(self, ended: Callable[[], object]) -> None:
        """Call *ended* when the last answer has been printed; no more names come."""
        self._ended = ended
        self._print()

    def _print(self) -> None:
        while self._lines and self._lines[0][1]:
            name, (outcome,) = self._lines.popleft()
            self._print_one(name, outcome)
            self._answered()
        sys.stdout.flush()
        if self._ended is not None and not self._lines:
            self._ended()

    def _print_one(self, name: str, outcome: "Prediction | Failure") -> None:
        from server.inference import Prediction  # noqa: PLC0415 - see label_files

        if not isinstance(outcome, Prediction):
            self.failed = True
            reason = getattr(outcome.value, "strerror", None) or outcome.getErrorMessage()
            click.echo(f"{name}: {reason}", err=True)
            return
        if self._show_names:
            click.echo(f"{name}:")
        for label, score in outcome.classes:
            click.echo(f"{label} (score = {score:.5f})")


def label_files(settings: Settings, names: Iterable[str], *, show_names: bool) -> int:
    """
    Load the model, label each of *names*, and return the exit code.

    *names* is read on a thread of its own, a little ahead of the answers.  The reactor, TensorFlow
    and the rest are imported here, since the command's help must be instant.
    """
    from twisted.internet import reactor as installed  # noqa: PLC0415 - importing installs it
    from twisted.internet.defer import ensureDeferred  # noqa: PLC0415

    from model.decode_pool import DecodePool  # noqa: PLC0415
    from model.runner import ModelError  # noqa: PLC0415
    from server.clock import MonotonicTime  # noqa: PLC0415
    from server.model_host import ModelHost  # noqa: PLC0415

    reactor: Any = installed  # Any: no type says that it has timers and threads at once
    failures: list[bool] = []
    slots = threading.Semaphore(AHEAD)
    host = ModelHost(
        settings,
        clock=MonotonicTime(reactor),
        call_from_thread=reactor.callFromThread,
        pool=DecodePool(reactor.callFromThread, settings.decode_threads),
        say=lambda line: click.echo(line, err=True) if sys.stderr.isatty() else None,
    )

    def read(printer: LabelPrinter) -> None:
        for name in names:
            slots.acquire()
            reactor.callFromThread(printer.take, name)
        reactor.callFromThread(printer.end, lambda: finish(printer))

    def finish(printer: LabelPrinter) -> None:
        failures.append(printer.failed)
        stopped = ensureDeferred(host.stop())
        stopped.addBoth(lambda _: reactor.stop())

    async def begin() -> None:
        await host.start()
        assert host.classifier is not None  # noqa: S101 - start returns when it is there
        printer = LabelPrinter(
            host.classifier,
            settings.num_top_predictions,
            show_names=show_names,
            answered=slots.release,
        )
        # A daemon, for it may wait for a line that never comes when a signal ends the program.
        threading.Thread(target=read, args=(printer,), name="names", daemon=True).start()

    def refused(failure: "Failure") -> None:
        failures.append(True)
        expected = failure.check(ModelError)
        click.echo(failure.getErrorMessage() if expected else failure.getTraceback(), err=True)
        reactor.stop()

    reactor.callWhenRunning(lambda: ensureDeferred(begin()).addErrback(refused))
    reactor.run()
    # Without a word from finish, a signal ended the loop: what waited was not labelled.
    return int(not failures or any(failures))
