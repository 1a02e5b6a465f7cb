"""Whatever a body is, its answer is one that a client can act upon, and others are answered."""

import json
from collections.abc import Iterator
from time import process_time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.settings.table import Settings
from tests.fakes.http import Answer, Client, request
from tests.fakes.service import ServiceHarness
from tests.fakes.tables import JSON_LENGTH
from tests.hostile_bodies import BODIES, EXTREME, HUGE, TARGETS, Body, Target

#: Statuses of answers to bodies that are wrong, or that the server does not take.
REFUSED = {400, 404, 413, 415, 422, 429, 501}

#: The most CPU seconds for a hostile body and the requests beside it.
MAX_SECONDS = 1.0

#: The same for a body of 50 MB.
MAX_SECONDS_HUGE = 15.0


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceHarness]:
    """Return a server that is ready; its log must stay free of errors."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("NOTIFY_SOCKET", raising=False)
        yield ServiceHarness(patch, Settings()).started()


def send(service: ServiceHarness, target: Target, body: bytes, kind: str) -> Client:
    """Send *body* to *target* over a connection of its own."""
    client = service.connect()
    headers = {"Content-Type": kind, **target.headers} if kind else target.headers
    client.send(request("POST", target.path, body, headers))
    return client


def check_answer(target: Target, answer: Answer) -> None:
    """
    Check that *answer* of *target* is a result, or an error; of a list, each entry.

    An error is one line, unless it shows JSON or a name, as TensorFlow Serving's do.
    """
    assert answer.status == 200 or answer.status in REFUSED, answer
    # Bytes of tensors may follow the JSON.
    length = int(answer.headers.get(JSON_LENGTH.lower(), len(answer.body)))
    content = json.loads(answer.body[:length])
    listed = isinstance(content, list) and any(isinstance(entry, dict) for entry in content)
    for entry in content if listed else [content]:
        if isinstance(entry, dict) and "error" in entry:
            lines = entry["error"].split("\n")
            assert len(lines) == 1 or target.path.startswith("/v1/"), entry
            assert all(line.isprintable() for line in lines), entry
            assert entry.get("status", 400) in REFUSED, entry
        else:
            assert answer.status == 200, answer


def check(service: ServiceHarness, target: Target, body: Body, seconds: float) -> None:
    """
    Send *body*, and a good request before and behind it; check the three answers.

    They must take no more than *seconds* of CPU time.
    """
    began = process_time()
    before = send(service, target, target.good, target.kind)
    hostile = send(service, target, *body)
    behind = send(service, target, target.good, target.kind)
    service.turn()
    took = process_time() - began
    assert (before.answer.status, behind.answer.status) == (200, 200)
    check_answer(target, hostile.answer)
    for client in (before, hostile, behind):
        client.hang_up()
    service.wait(0.0)
    assert took < seconds, f"{took:.2f} s of CPU time"


@pytest.mark.usefixtures("log")
@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS.keys())
@pytest.mark.parametrize("name", EXTREME)
def test_an_extreme_body_is_refused_in_time(
    service: ServiceHarness, target: Target, name: str
) -> None:
    """With a status that names the client's mistake."""
    check(service, target, EXTREME[name](), MAX_SECONDS)


@pytest.mark.full
@pytest.mark.usefixtures("log")
@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS.keys())
@pytest.mark.parametrize("name", HUGE)
def test_a_huge_body_is_refused_in_time(service: ServiceHarness, target: Target, name: str) -> None:
    """It is within the limit of bodies, so that all of it is read."""
    body = HUGE[name]()
    assert len(body[0]) <= Settings().max_body_bytes
    check(service, target, body, MAX_SECONDS_HUGE)


@pytest.mark.usefixtures("log")
@settings(
    derandomize=True,
    deadline=None,
    max_examples=100,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(target=st.sampled_from(list(TARGETS.values())), body=BODIES)
def test_a_random_body_is_answered(service: ServiceHarness, target: Target, body: Body) -> None:
    """A form, a document or other bytes; often damaged, or with another Content-Type."""
    check(service, target, body, MAX_SECONDS)
