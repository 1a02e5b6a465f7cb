"""
`python -m benchmarks.decode_worker PIPE MEMORY`: decode images for another process.

Both are file descriptors.  A slot of the memory holds an image file on the way in and, at its
start, pixels on the way out; the pipe carries nothing but numbers.  Imports neither Twisted nor
TensorFlow, so that a worker is small and starts in a moment.
"""

import mmap
import sys
from dataclasses import dataclass
from multiprocessing.connection import Connection
from struct import Struct

from model.images.decode import decode_image
from model.images.preprocessing import Preprocessing

MAX_PIXELS = 50_000_000
ASKED = Struct("<II")  #: the slot, and how many bytes of an image file it holds
ANSWERED = Struct("<I")  #: the slot, which holds the pixels


@dataclass(frozen=True, slots=True)
class Work:
    """What a worker is told at its start."""

    preprocessing: Preprocessing
    slot_bytes: int


def main() -> None:
    """Decode until the pipe is closed."""
    with Connection(int(sys.argv[1])) as pipe:
        work: Work = pipe.recv()
        memory = mmap.mmap(int(sys.argv[2]), 0)
        pipe.send_bytes(b"ready")
        while True:
            try:
                slot, length = ASKED.unpack(pipe.recv_bytes())
            except EOFError:
                return
            start = slot * work.slot_bytes
            data = memory[start : start + length]
            pixels = decode_image(data, work.preprocessing, max_pixels=MAX_PIXELS)
            memory[start : start + pixels.nbytes] = pixels.tobytes()
            pipe.send_bytes(ANSWERED.pack(slot))


if __name__ == "__main__":
    main()
