"""Workers of the benchmark of decoding: benchmarks/decode_processes.py."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pytest

from benchmarks.decode_processes import SLOTS, DecodeProcesses, Worker
from benchmarks.photos import small_photos
from model.images.decode import decode_image
from model.images.preprocessing import Preprocessing

WANTED = Preprocessing(24, 32, 0.875)


@dataclass
class Readers:
    """The part of a reactor that is told what to read, and does so when told."""

    readers: list[Worker] = field(default_factory=list)

    def addReader(self, reader: Worker) -> None:
        """Take note of *reader*."""
        self.readers.append(reader)

    def removeReader(self, reader: Worker) -> None:
        """Forget *reader*."""
        self.readers.remove(reader)


@pytest.fixture
def readers() -> Readers:
    """Return a reactor with nothing to read."""
    return Readers()


@pytest.fixture
def processes(readers: Readers) -> Iterator[DecodeProcesses]:
    """Start two workers, and end them."""
    running = DecodeProcesses(readers, 2, WANTED, 100_000)
    yield running
    running.stop()
    assert not readers.readers
    assert [worker.process.returncode for worker in running.workers] == [0, 0]


def test_a_worker_gives_the_pixels_of_decode_image(
    readers: Readers, processes: DecodeProcesses
) -> None:
    """Of more images than there are slots, each its own."""
    photos = small_photos(224, 224) * 2
    answers = [processes.decode(photo) for photo in photos]
    assert len(photos) > 2 * SLOTS
    while not all(answer.called for answer in answers):
        for worker in readers.readers:
            if len(worker.free) < SLOTS:
                worker.doRead()
    for photo, answer in zip(photos, answers, strict=True):
        expected = decode_image(photo, WANTED, max_pixels=1_000_000)
        np.testing.assert_array_equal(answer.result, expected)
    assert processes.cpu_seconds() > 0
    assert all(worker.memory_mb() > 1 for worker in processes.workers)
