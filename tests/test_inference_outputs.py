"""Large outputs, which are finished on a decode thread: server/inference.py."""

from functools import partial

import numpy as np
import pytest
from twisted.internet.defer import CancelledError

from model.signature import STRING, Arrays
from server.api.request_end import end_of
from server.call import MAX_BYTES_FINISHED_AT_ONCE, Call, Outputs, Timing
from tests.fakes.inference import InferenceFixture, feed, tensor_call
from tests.fakes.threads import kinds, outcomes

pytestmark = pytest.mark.usefixtures("log")


def large(*, strings: bool = False) -> Arrays:
    """Return an output that is finished on a decode thread."""
    if strings:
        return (np.array([b"x" * MAX_BYTES_FINISHED_AT_ONCE], STRING),)
    return (np.zeros((1, MAX_BYTES_FINISHED_AT_ONCE // 4 + 1), np.float32),)


@pytest.mark.parametrize(
    ("arrays", "jobs"),
    [
        (large(), 1),
        (large(strings=True), 1),
        ((np.zeros((1, MAX_BYTES_FINISHED_AT_ONCE // 4), np.float32),), 0),
    ],
    ids=["numbers", "strings", "small"],
)
def test_large_outputs_are_finished_on_a_decode_thread(arrays: Arrays, jobs: int) -> None:
    """The reactor thread serves other requests meanwhile; the time is that on the thread."""
    fixture = InferenceFixture()
    timing = Timing()
    fired = outcomes(fixture.inference.run(tensor_call(7, at_once=True), timing))
    assert (len(fixture.threads.queue), timing.decode) == (0, 0.0)
    fixture.lane.give(arrays)
    assert (len(fired), len(fixture.threads.queue)) == (1 - jobs, jobs)
    for _ in range(jobs):
        fixture.decode()
    (result,) = fired
    assert isinstance(result, Outputs)
    assert result.arrays is arrays
    assert timing.encode == 2.0 * jobs
    assert fixture.inference.admission.decoding.average == 0.0


def test_an_error_of_the_last_step_is_the_result() -> None:
    """On each thread."""
    fixture = InferenceFixture()

    def fail(_: Outputs) -> None:
        raise ZeroDivisionError

    for arrays in (large(), (np.zeros((1, 3), np.float32),)):
        fired = outcomes(fixture.inference.run(Call(partial(feed, 7), fail, at_once=True)))
        fixture.lane.give(arrays)
        if fixture.threads.queue:
            fixture.decode()
        assert kinds(fired) == [ZeroDivisionError]


@pytest.mark.parametrize("begun", [False, True])
def test_a_result_that_is_cancelled_while_it_is_finished_is_dropped(begun: bool) -> None:
    """And no later request counts it as one to decode."""
    fixture = InferenceFixture()
    finished: list[None] = []
    call = Call(partial(feed, 7), lambda _: finished.append(None), at_once=True)
    timing = Timing()
    answer = fixture.inference.run(call, timing)
    fired = outcomes(answer)
    assert end_of(CancelledError(), timing) == ("cancelled", "run")
    fixture.lane.give(large())
    if begun:
        fixture.threads.step()
    answer.cancel()
    assert kinds(fired) == [CancelledError]
    assert end_of(CancelledError(), timing) == ("cancelled", "encode")
    if not begun:
        fixture.threads.step()
    else:
        fixture.calls.step()
    assert len(finished) == begun
    assert (len(fired), fixture.inference.admission.pending) == (1, 0)


def test_a_large_answer_does_not_wait_behind_the_images_of_its_model() -> None:
    """Many images may wait to be decoded, and the answer is due before theirs."""
    fixture = InferenceFixture()
    answered = outcomes(fixture.inference.run(tensor_call(7)))
    fixture.decode()
    waiting = [outcomes(fixture.inference.run(tensor_call(value))) for value in range(5)]
    fixture.lane.give(large())
    assert answered == []
    fixture.decode()
    assert kinds(answered) == [Outputs]
    assert waiting == [[]] * 5
