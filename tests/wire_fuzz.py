"""
Random and mutated bytes of clients, the same for the same seed.

Each is a list of segments: requests of the wire cases, mutated and joined, or bytes at random.
"""

from itertools import pairwise
from random import Random

from tests.wire_cases import CASES
from tests.wire_rules import RULES

#: What the wire cases send, up to 4 KB each.
SEEDS = [
    step
    for _, steps, _, _ in CASES + RULES
    for step in steps
    if isinstance(step, bytes) and 0 < len(step) <= 4096
]

#: Pieces that have a meaning in HTTP.
PIECES = [
    *(b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"0\r\n\r\n", b":", b" ", b"\t", b"\0", b",", b";", b'"'),
    *(b"\xff", b"%", b"%ff", b"*", b"chunked", b"gzip", b"HTTP/1.0", b"HTTP/1.1", b"HTTP/2.0"),
    *(b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n"),
    *(
        b"Expect: 100-continue\r\n",
        b"Host: a\r\n",
        b"Connection: keep-alive\r\n",
        b"HEAD ",
        b"5\r\n",
    ),
    *(
        b"Content-Length: 99999999999999999999\r\n",
        b"Upgrade: h2c\r\n",
        b"\x16\x03\x01",
        b"fffffff",
    ),
]


def mutated(data: bytes, random: Random) -> bytes:
    """Return *data* after one mutation."""
    start = random.randrange(len(data) + 1)
    end = min(len(data), start + int(random.expovariate(0.2)))
    kind = random.randrange(5)
    if kind == 0:  # another byte
        return data[:start] + bytes([random.randrange(256)]) + data[start + 1 :]
    if kind == 1:  # a part is missing
        return data[:start] + data[end:]
    if kind == 2:  # a part is there twice
        return data[:end] + data[start:]
    if kind == 3:  # a part of another one
        other = random.choice(SEEDS)
        cut = random.randrange(len(other))
        return data[:start] + other[cut : cut + 40] + data[start:]
    return data[:start] + random.choice(PIECES) + data[start:]


def fuzzed(random: Random) -> list[bytes]:
    """Return the segments that one client sends."""
    if random.random() < 0.05:
        data = random.randbytes(random.randrange(1, 400))
    else:
        parts = []
        for _ in range(random.choice((1, 1, 2, 4))):
            part = random.choice(SEEDS)
            for _ in range(random.choice((0, 1, 1, 2, 4, 8))):
                part = mutated(part, random)
            parts.append(part)
        data = b"".join(parts)
    cuts = sorted(random.randrange(len(data) + 1) for _ in range(random.choice((0, 0, 1, 3))))
    bounds = [0, *cuts, len(data)]
    return [data[at:end] for at, end in pairwise(bounds) if at < end]
