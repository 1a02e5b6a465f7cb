"""The pieces that an executor runs, and the fake executor of the tests."""

import pytest

from batcher.executor import Executor, Piece
from tests.fakes.executor import ManualExecutor, Rows, join_rows, rows_of


def test_a_piece_counts_its_rows() -> None:
    """From start to stop, without stop."""
    assert Piece("photo", 2, 5).rows == 3


def test_the_fake_answers_one_result_a_piece_in_order() -> None:
    """One result for each piece, when the test calls `finish`."""
    fake: ManualExecutor[str] = ManualExecutor()
    executor: Executor[str, Rows[str]] = fake
    answers: list[object] = []
    pieces = [Piece("a", 0, 2), Piece("b", 4, 5)]
    executor.run(pieces).addCallback(answers.append)
    assert answers == []
    assert fake.current.pieces == [("a", 0, 2), ("b", 4, 5)]
    assert fake.current.rows == 3
    fake.current.finish()
    assert answers == [[[("a", 0), ("a", 1)], [("b", 4)]]]
    assert join_rows([rows_of(piece) for piece in pieces]) == [("a", 0), ("a", 1), ("b", 4)]


def test_the_fake_refuses_a_second_run_beside_the_first() -> None:
    """A lane runs one batch at a time; a batcher that forgets it fails its test."""
    fake: ManualExecutor[str] = ManualExecutor()
    fake.run([Piece("a", 0, 1)])
    with pytest.raises(AssertionError, match="one run at a time"):
        fake.run([Piece("b", 0, 1)])
