"""Bad requests for one model leave the answers and the statistics of the others as they are."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from itertools import cycle
from threading import Event
from typing import Any

import orjson
import pytest

from tests.fakes.tables import JSON_LENGTH
from tests.hostile_bodies import EXTREME, JSON
from tests.integration.clients import Answer, ask, connect, get, post
from tests.integration.repositories import Repository, code_of

pytestmark = pytest.mark.full

#: The longest time that a good request may take, in seconds.
MAX_SECONDS = 15.0


#: The statuses of a body that is wrong.
WRONG = {400, 413, 415}


@dataclass(frozen=True)
class Request:
    """A body for a model, without its path."""

    path: str  #: with NAME in the place of the model
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    def sent(self, port: int, name: str) -> Answer:
        """Post the request to the model *name*, over a connection of its own."""
        path = self.path.replace("NAME", name)
        return post(port, self.body, path=path, headers=self.headers)


def v2(*shape: int, data: object = None, name: str = "x", **more: object) -> bytes:
    """Return a request of the v2 protocol with one input."""
    tensor = {"name": name, "shape": shape, "datatype": "FP32", "data": data}
    return orjson.dumps({"inputs": [tensor], **more})


#: A request with a row of binary numbers: how many, and their bytes.
_BINARY = (
    b'{"inputs":[{"name":"x","shape":[1,%d],"datatype":"FP32",'
    b'"parameters":{"binary_data_size":%d}}]}'
)

#: A good request to the model keras in each dialect; its answer is the sum of x and a number.
GOOD = {
    "native": Request("/models/NAME", b'{"inputs": {"x": [[1, 2, 3]]}}'),
    "TensorFlow Serving, rows": Request("/v1/models/NAME:predict", b'{"instances": [[1, 2, 3]]}'),
    "TensorFlow Serving, columns": Request("/v1/models/NAME:predict", b'{"inputs": [[1, 2, 3]]}'),
    "v2": Request("/v2/models/NAME/infer", v2(1, 3, data=[1, 2, 3])),
    "v2, binary": Request(
        "/v2/models/NAME/infer",
        _BINARY % (3, 12) + b"\0\0\x80?\0\0\0@\0\0@@",
        {JSON_LENGTH: str(len(_BINARY % (3, 12)))},
    ),
}

#: Requests to the model adder, which takes rows of two numbers, and the statuses of their errors.
BAD: dict[str, tuple[set[int], Request]] = {
    **{f"{name}: a row too long": (WRONG, good) for name, good in GOOD.items()},
    **{
        f"{name}: no such signature": (WRONG, Request(GOOD[name].path, body))
        for name, body in {
            "native": b'{"signature_name": "none", "inputs": {"x": [[1, 2]]}}',
            "TensorFlow Serving, rows": b'{"signature_name": "none", "instances": [[1, 2]]}',
            "v2": v2(1, 2, data=[1, 2], parameters={"signature_name": "none"}),
        }.items()
    },
    **{
        f"{path}: no such version": ({404}, Request(path, GOOD[name].body))
        for name, path in {
            "native": "/models/NAME/versions/9",
            "TensorFlow Serving, rows": "/v1/models/NAME/versions/9:predict",
            "v2": "/v2/models/NAME/versions/9/infer",
        }.items()
    },
    "v2: another input": (WRONG, Request("/v2/models/NAME/infer", v2(1, 2, data=[1, 2], name="y"))),
    "v2: another length": (
        WRONG,
        Request("/v2/models/NAME/infer", _BINARY % (2, 8) + b"\0" * 7, {JSON_LENGTH: "93"}),
    ),
    **{
        f"{path}: {name}": (WRONG, Request(path, make()[0], {"Content-Type": JSON}))
        for path in ("/models/NAME", "/v1/models/NAME:predict", "/v2/models/NAME/infer")
        for name, make in EXTREME.items()
    },
}


def statistics(port: int, name: str) -> list[Any]:
    """Return the statistics of the versions of the model *name*."""
    content = orjson.loads(get(port, f"/v2/models/{name}/stats").body)
    return sorted(content["model_stats"], key=lambda it: str(it["version"]))


def counts(port: int, name: str) -> tuple[int, int, int]:
    """Return the rows, and the requests that succeeded and failed, of version 2 of *name*."""
    (found,) = (it for it in statistics(port, name) if it["version"] == "2")
    stats = found["inference_stats"]
    return found["inference_count"], stats["success"]["count"], stats["fail"]["count"]


def test_bad_requests_leave_other_models_as_they_are(repository: Repository) -> None:
    """In every dialect, while each dialect is answered by another model."""
    port = repository.server.port
    expected = {name: request.sent(port, "keras").body for name, request in GOOD.items()}
    assert all(str(6 + code_of(2, 2)).encode() in body for body in expected.values())
    before, idle = counts(port, "keras"), statistics(port, "jpegs")
    done = Event()

    def send_good() -> list[tuple[str, Answer]]:
        answers: list[tuple[str, Answer]] = []
        with closing(connect(port)) as connection:
            for name, request in cycle(GOOD.items()):
                path = request.path.replace("NAME", "keras")
                answer = ask(connection, request.body, path=path, headers=request.headers)
                answers.append((name, answer))
                if done.is_set():
                    return answers
        raise AssertionError("unreachable")

    with ThreadPoolExecutor(1) as thread:
        good = thread.submit(send_good)
        try:
            for name, (statuses, request) in BAD.items():
                answer = request.sent(port, "adder")
                assert answer.status in statuses, (name, answer)
                assert orjson.loads(answer.body)["error"], name
        finally:
            done.set()
        answers = good.result()
    for name, answer in answers:
        assert (answer.status, answer.body) == (200, expected[name])
        assert answer.seconds < MAX_SECONDS, name
    rows, succeeded, failed = before
    assert counts(port, "keras") == (rows + len(answers), succeeded + len(answers), failed)
    assert statistics(port, "jpegs") == idle
    assert counts(port, "adder")[2] > 0
