"""Requests and answers of TensorFlow Serving's REST API, from tests/tables/tfserving."""

import json

import pytest

from tests.fakes.tables import Pair, normal, pairs_in
from tests.fakes.tfserving import TFServingServer

pytestmark = pytest.mark.usefixtures("log")

PAIRS = pairs_in("tfserving")


def test_there_are_enough_pairs_with_names_of_their_own() -> None:
    """The names are the ids of the tests."""
    names = [pair.name for pair in PAIRS]
    assert len(names) >= 120
    assert sorted(set(names)) == sorted(names)


@pytest.fixture(scope="module")
def served() -> TFServingServer:
    """Return the server of all requests."""
    return TFServingServer()


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.name)
def test_a_request_is_answered_as_the_table_says(served: TFServingServer, pair: Pair) -> None:
    """Over the wire: status, headers and body."""
    answer = served.answer(pair)
    assert answer.status == pair.status, answer.body
    if pair.answer is not None:
        assert normal(answer.body) == normal(pair.answer)
    if pair.error is not None:
        expected = json.dumps({"error": pair.error}, indent=4, ensure_ascii=False)
        assert answer.body.decode() == expected
    if pair.text is not None:
        assert answer.body.decode() == pair.text
    assert pair.answer is not None or pair.error is not None or pair.text is not None
    assert answer.headers["content-type"] == "application/json"
    for name, value in pair.answer_headers.items():
        assert answer.headers.get(name.lower(), "") == value
