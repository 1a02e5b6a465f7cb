"""The requests that prove a version: server/golden.py."""

import json
from pathlib import Path

import pytest
from twisted.internet.defer import ensureDeferred
from twisted.internet.task import Clock

from batcher.errors import RunFailed
from model.errors import ModelError
from server.api.dialect import Dialect
from server.api.native import NATIVE
from server.call import Call, RequestOptions
from server.golden import DEFAULT_TOLERANCE, GOLDEN, GoldenRequest, prove, read_golden
from server.http.messages import HTTPRequest, HTTPResponse
from server.served_model import ServedModel
from tests.fakes.endpoint import IMAGE
from tests.fakes.server import FakeInference, scored
from tests.fakes.threads import outcomes

pytestmark = pytest.mark.usefixtures("log")


def test_a_version_without_the_file_has_nothing_to_prove(tmp_path: Path) -> None:
    """The file is optional."""
    assert read_golden(tmp_path) == []


def test_each_line_is_a_request_and_its_answer(tmp_path: Path) -> None:
    """With a JSON body or a file of the folder; empty lines are skipped."""
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "cat.png").write_bytes(IMAGE)
    (tmp_path / GOLDEN).write_text(
        '{"request": {"inputs": [1]}, "expected": {"outputs": [2]}}\n\n'
        '{"file": "images/cat.png", "k": 2, "expected": [], "tolerance": 0}\n'
    )
    assert read_golden(tmp_path) == [
        GoldenRequest(1, b'{"inputs":[1]}', None, {"outputs": [2]}, DEFAULT_TOLERANCE),
        GoldenRequest(3, IMAGE, 2, [], 0.0),
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "unexpected end of data: line 1 column 2 (char 1)"),
        ("[]", "expected an object"),
        ('{"request": 1}', "expected the key expected"),
        ('{"expected": 1}', "expected either request or file"),
        ('{"request": 1, "file": "a", "expected": 1}', "expected either request or file"),
        ('{"request": 1, "expected": 1, "kk": 1}',
            "expected only the keys expected, file, k, request, tolerance, not ['kk']"),
        ('{"request": 1, "expected": 1, "k": 1.5}', "expected a whole number as k"),
        ('{"request": 1, "expected": 1, "k": true}', "expected a whole number as k"),
        ('{"request": 1, "expected": 1, "tolerance": -1}', "expected a number as tolerance"),
        ('{"request": 1, "expected": 1, "tolerance": "a"}', "expected a number as tolerance"),
        ('{"file": 1, "expected": 1}', "expected the path of a file within the folder"),
        ('{"file": "/etc/passwd", "expected": 1}', "expected the path of a file within the folder"),
        ('{"file": "a/../../b", "expected": 1}', "expected the path of a file within the folder"),
        ('{"file": "none.png", "expected": 1}', "No such file or directory"),
        ('{"file": ".", "expected": 1}', "Is a directory"),
    ],
)  # fmt: skip
def test_a_wrong_line_is_an_error_that_names_it(tmp_path: Path, line: str, reason: str) -> None:
    """One line, with file, line and reason."""
    (tmp_path / GOLDEN).write_text(f'{{"request": 1, "expected": 1}}\n{line}\n')
    with pytest.raises(ModelError) as caught:
        read_golden(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / GOLDEN}: line 2: ")
    assert reason in str(caught.value)


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    """It is not as if there were none."""
    (tmp_path / GOLDEN).mkdir()
    with pytest.raises(ModelError, match=f"{GOLDEN}: Is a directory"):
        read_golden(tmp_path)


# --- answers


def proven(answer: object, expected: object, tolerance: float = DEFAULT_TOLERANCE) -> str:
    """Return how *answer* fails to prove *expected*; "" if it proves it."""

    def read(_: ServedModel, _request: HTTPRequest, options: RequestOptions) -> Call[HTTPResponse]:
        written = HTTPResponse(200, json.dumps(answer).encode())
        return Call(lambda: None, lambda _: written, options)  # type: ignore[arg-type, return-value]  # the fake prepares nothing

    inference = FakeInference(Clock())
    golden = [GoldenRequest(4, b"", None, expected, tolerance)]
    dialect = Dialect(read, NATIVE.write_error)
    fired = outcomes(ensureDeferred(prove(inference, golden, dialect)))
    inference.calls[0].answer.callback(scored(1.0))
    if fired == [None]:
        return ""
    (error,) = fired
    assert isinstance(error, ModelError)
    return str(error).removeprefix(f"{GOLDEN}: line 4: ")


@pytest.mark.parametrize(
    ("expected", "answer", "tolerance", "difference"),
    [
        (1, 1, 0.0, ""),
        (1, 1.0, 0.0, ""),
        (1, 2, 0.5, "expected 1, got 2"),
        # The tolerance is relative above 1 and absolute below.
        (1000, 1001, 1e-3, ""),
        (1000, 1001.5, 1e-3, "expected 1000, got 1001.5"),
        (-1000, -1001, 1e-3, ""),
        (0, 1e-3, 1e-3, ""),
        (0, 2e-3, 1e-3, "expected 0, got 0.002"),
        (0.5, 0.5005, 1e-3, ""),
        ("cat", "cat", 9.0, ""),
        ("cat", "dog", 9.0, 'expected "cat", got "dog"'),
        ("1", 1, 9.0, 'expected "1", got 1'),
        (None, None, 0.0, ""),
        (None, 0, 9.0, "expected null, got 0"),
        (True, True, 0.0, ""),
        (True, 1, 9.0, "expected true, got 1"),
        (1, True, 9.0, "expected 1, got true"),
        ([], [], 0.0, ""),
        ([1, 2], [1, 2], 0.0, ""),
        ([1, 2], [1, 3], 0.0, "expected 2 at [1], got 3"),
        ([1, 2], [1], 9.0, "expected [1,2], got [1]"),
        ([1], {"0": 1}, 9.0, 'expected [1], got {"0":1}'),
        ({"a": [[1, 2]]}, {"a": [[1, 3]]}, 0.0, "expected 2 at .a[0][1], got 3"),
        ({"a": 1}, {"a": 1, "b": 2}, 9.0, 'expected {"a":1}, got {"a":1,"b":2}'),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, 0.0, ""),
        (["a" * 99], "b", 0.0, f'expected ["{"a" * 75}..., got "b"'),
    ],
)  # fmt: skip
def test_an_answer_is_right_up_to_the_tolerance(
    expected: object, answer: object, tolerance: float, difference: str
) -> None:
    """Numbers may differ a little; all else is equal.  The first difference is stated."""
    assert proven(answer, expected, tolerance) == difference


def test_a_number_that_json_cannot_hold_is_null() -> None:
    """As in the answers of a server."""
    assert proven([None], [None]) == ""
    assert proven([None], [0]) == "expected 0 at [0], got null"


def test_a_request_that_is_refused_or_fails_proves_nothing() -> None:
    """Its error is the reason."""
    golden = [GoldenRequest(1, IMAGE, 0, [], 0.0)]
    (error,) = outcomes(ensureDeferred(prove(FakeInference(Clock()), golden, NATIVE)))
    assert isinstance(error, ModelError)
    assert str(error).startswith(f"{GOLDEN}: line 1: the request failed: ")
    inference = FakeInference(Clock())
    golden = [GoldenRequest(1, IMAGE, None, [], 0.0)]
    fired = outcomes(ensureDeferred(prove(inference, golden, NATIVE)))
    inference.calls[0].answer.errback(RunFailed(ValueError("bad op")))
    (error,) = fired
    assert isinstance(error, ModelError)
    assert str(error).startswith(f"{GOLDEN}: line 1: the request failed: ")
