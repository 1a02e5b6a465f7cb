"""
Answer scrapes: read the numbers on the reactor thread, make the text on a thread of its own.

Not on a decode thread: when these hang, the metrics must show it.  Methods are called on the
reactor thread.
"""

import gzip
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector, exposition
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample
from twisted.internet.defer import Deferred, DeferredLock, ensureDeferred, fail
from twisted.python.failure import Failure

from model.execution.memory import available_bytes
from model.execution.thread import ModelThread, ThreadStopped
from server.http.content_encoding import preferred_coding
from server.metrics.declared import MEMORY_AVAILABLE
from server.metrics.families import families
from server.metrics.gpu import GPUReading, GPUs
from server.metrics.readings import ProcessSeries, Readings, from_content, to_json

#: The fastest level: it makes a twentieth of the text, and the others not much less.
GZIP_LEVEL = 1


@dataclass(frozen=True, slots=True)
class Format:
    """A format of the text."""

    is_open_metrics: bool = False
    gzip: bool = False

    @property
    def content_type(self) -> str:
        """The value of Content-Type."""
        if self.is_open_metrics:
            return openmetrics.CONTENT_TYPE_LATEST
        return exposition.CONTENT_TYPE_PLAIN_0_0_4

    @property
    def fields(self) -> Mapping[str, str]:
        """The header fields of its coding."""
        coding = {"Content-Encoding": "gzip"} if self.gzip else {}
        return {"Vary": "Accept, Accept-Encoding", **coding}

    def encode(self, collector: Collector) -> bytes:
        """Return the text of what *collector* collects; called on any thread."""
        module = openmetrics if self.is_open_metrics else exposition
        text = module.generate_latest(collector)
        return gzip.compress(text, GZIP_LEVEL) if self.gzip else text


def form_of(accept: str, accept_encoding: str) -> Format:
    """
    Return the format for a request with these headers.

    One version of each format is offered, and not any that a client names: a text is made once for
    all scrapes that ask for its format.
    """
    return Format(
        "application/openmetrics-text" in _accepted(accept),
        preferred_coding(accept_encoding) == "gzip",
    )


def _accepted(header: str) -> set[str]:
    """Return the names in *header*, an Accept header, without those that it refuses by q=0."""
    accepted = set()
    for part in header.lower().split(","):
        name, *parameters = (it.strip() for it in part.split(";"))
        if not any(re.fullmatch(r"q=0(\.0*)?", it) for it in parameters):
            accepted.add(name)
    return accepted


class ReadCollector(Collector):
    """
    Collects what a scrape has read, the memory that is left, and the metrics of *process*.

    If what was read has values for series of *process*, these are the values.
    """

    def __init__(self, readings: Readings, process: Collector) -> None:
        self._readings = readings
        self._process = process

    def collect(self) -> Iterator[Family]:
        """Yield all families; called once, on the thread of the text."""
        available = available_bytes()  # reads files, which takes too long for the reactor thread
        if available is not None:
            self._readings.add(MEMORY_AVAILABLE, available)
        yield from families(self._readings)
        for family in self._process.collect():
            family.samples = [
                sample._replace(value=self._readings.process.get(series_of(sample), sample.value))
                for sample in family.samples
            ]
            yield family


def series_of(sample: Sample) -> ProcessSeries:
    """Return the name and the labels of *sample*."""
    return sample.name, tuple(sorted(sample.labels.items()))


class Scrapes:
    """
    Makes one text at a time; scrapes of its format that arrive meanwhile share it.

    Inert until the first scrape, which starts the thread.
    """

    def __init__(
        self,
        read: Callable[[], Readings],
        gpus: GPUs,
        new_thread: Callable[[str], ModelThread],
        group: Callable[[], Deferred[Any]] | None = None,
    ) -> None:
        """
        *read* returns copies of all numbers except for those of *gpus*.

        *group* returns a Deferred of the readings of all workers, this one included, as the decoded
        JSON of `to_json`; None: there is only this one.
        """
        self._read = read
        self._group = group
        self._gpus = gpus
        self._new_thread = new_thread
        self._thread: ModelThread | None = None
        self._stopped = False
        self._one_at_a_time = DeferredLock()
        self._waiting: dict[Format, list[Deferred[bytes]]] = {}
        self._process = CollectorRegistry()
        ProcessCollector(registry=self._process)
        GCCollector(registry=self._process)

    def text(self, form: Format) -> Deferred[bytes]:
        """Return a Deferred of the text in the format *form*; it may be cancelled."""
        answer: Deferred[bytes] = Deferred()
        waiting = self._waiting.setdefault(form, [])
        waiting.append(answer)
        if len(waiting) == 1:
            making = self._one_at_a_time.run(lambda: ensureDeferred(self._made(form)))
            making.addBoth(self._deliver, form)
        return answer

    async def _made(self, form: Format) -> bytes:
        gpus = await self._gpus.read()
        take = await self._taken()
        return await self._running_thread().call(lambda: self._encoded(form, take(), gpus))

    async def _taken(self) -> Callable[[], Readings]:
        """Return a function that returns what is reported, for the thread of the text."""
        if self._group is None:
            readings = self._read()
            return lambda: readings
        return partial(from_content, await self._group())

    def _encoded(self, form: Format, readings: Readings, gpus: Sequence[GPUReading]) -> bytes:
        """Return the text of *readings* and *gpus*; called on the thread of the text."""
        for gpu in gpus:
            gpu.add_to(readings)
        return form.encode(ReadCollector(readings, self._process))

    def json(self) -> Deferred[bytes]:
        """
        Return a Deferred of what this process alone has read, as JSON for `from_content`.

        Without its GPUs and the memory that is left, which belong to the machine.  Fails with
        `ThreadStopped` after `stop`.
        """
        if self._stopped:
            return fail(ThreadStopped("the server has stopped"))
        readings = self._read()

        def encoded() -> bytes:
            readings.process = {
                series_of(sample): sample.value
                for family in self._process.collect()
                for sample in family.samples
            }
            return to_json(readings)

        return self._running_thread().call(encoded)

    def _running_thread(self) -> ModelThread:
        if self._thread is None:
            self._thread = self._new_thread("metrics")
            self._thread.start()
        return self._thread

    def _deliver(self, text: bytes | Failure, form: Format) -> None:
        for answer in self._waiting.pop(form):
            if not answer.called:  # else its client has hung up
                answer.callback(text)  # a Failure starts the errbacks

    async def stop(self) -> None:
        """End the threads after the text under way."""
        self._stopped = True
        self._gpus.stop()
        if self._thread is not None:
            await self._thread.stop()
