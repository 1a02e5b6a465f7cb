"""What the yardstick asks, and what it is answered: scripts/peer.py."""

from collections.abc import Callable
from math import inf

import numpy as np
import orjson
import pytest
from click.testing import CliRunner
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from model.signature import Feed, Signature, TensorSpec
from scripts.peer import dialect_of, main, null_feed, write_best, write_length
from server.errors import HTTPError
from server.inference import Inference, Outputs, Timing
from tests.fakes_http import http_request
from tests.fakes_server import ManualLane, served_model

SCORES = Signature((), (TensorSpec("scores", np.dtype(np.float32), (None, None)),))


class NotingInference(Inference):
    """Notes the deadlines that it is given, and answers nothing."""

    def __init__(self) -> None:
        self.model = served_model(Clock(), ManualLane())
        self.deadlines: list[float] = []

    def run(
        self, prepare: Callable[[], Feed], *, deadline: float = inf, timing: Timing | None = None
    ) -> Deferred[Outputs]:
        """Note the deadline."""
        self.deadlines.append(deadline)
        return Deferred()


@pytest.mark.parametrize(
    ("scores", "classes"),
    [
        ([1, 7, 3, 9, 5, 8, 2], [3, 5, 1, 4, 2]),
        ([0.5, 0.5, 1, 0.5, 0.5, 0.5], [2, 0, 1, 3, 4]),
        ([1, 2], [1, 0]),
    ],
    ids=["seven", "equal scores", "two classes"],
)
def test_the_answer_of_the_net_is_the_five_best(scores: list[float], classes: list[int]) -> None:
    """The best first, with their scores; of equals the first class."""
    row = np.array([scores], np.float32)
    content = orjson.loads(write_best(Outputs(SCORES, (row,))))
    assert content == {"classes": classes, "scores": [scores[each] for each in classes]}


def test_the_answer_of_the_null_model_is_the_length() -> None:
    """As the yardstick writes it."""
    assert write_length(Outputs(SCORES, (np.array([1024]),))) == b'{"n":1024}'


@pytest.mark.parametrize(
    ("header", "timeout", "deadline"),
    [(None, 0.5, 10.5), (None, inf, inf), ("2000", 0.5, 12.0), ("250", inf, 10.25)],
)
def test_a_deadline_is_the_clients_own_or_else_the_default(
    header: str | None, timeout: float, deadline: float
) -> None:
    """Counted from the arrival of the request."""
    inference = NotingInference()
    headers = {} if header is None else {"x-request-timeout-ms": header}
    dialect = dialect_of(null_feed, write_length, timeout)
    dialect.infer(inference, http_request(b"x", received=10.0, headers=headers), Timing())
    assert inference.deadlines == [deadline]


def test_a_wrong_timeout_is_refused_before_anything_runs() -> None:
    """As in the native dialect."""
    inference = NotingInference()
    dialect = dialect_of(null_feed, write_length, inf)
    with pytest.raises(HTTPError, match="expected milliseconds"):
        dialect.infer(inference, http_request(headers={"x-request-timeout-ms": "soon"}), Timing())
    assert inference.deadlines == []


@pytest.mark.parametrize(
    ("options", "variables", "said"),
    [
        (["--model", "net"], {}, "--model net needs --graph"),
        ([], {"PEER_MODEL": "net"}, "--model net needs --graph"),
        ([], {"PEER_MODEL": "gross"}, "'gross' is not one of 'null', 'net'"),
        ([], {"PEER_TIMEOUT_MS": "-1"}, "-1.0 is not in the range x>=0"),
        (["--port", "http"], {}, "--port"),
        (["--model", "net", "--graph", "none.pb"], {}, "--graph"),
    ],
)
def test_what_cannot_be_served_is_told_at_once(
    options: list[str], variables: dict[str, str], said: str
) -> None:
    """Whether it came from the command line or from a variable."""
    result = CliRunner().invoke(main, options, env=variables)
    assert result.exit_code == 2
    assert said in result.output
