"""The null model: model/backends/null.py, and how it is loaded."""

import numpy as np
import pytest

from model.backends.null import LENGTHS, NullRunner
from model.signature import STRING, Feed
from server.model_loading import load_null
from server.settings.table import Settings
from tests.fakes.model import check_runner


def feed(*bodies: bytes) -> Feed:
    """Return *bodies*, one a row."""
    return LENGTHS.feed({"body": np.array(bodies, STRING)})


@pytest.mark.parametrize(
    "bodies",
    [(b"",), (b"\0",), (b"a\0\0",), (b"x" * 1024,), (b"", b"\xff\xd8", b"abc" * 1000, b"\0" * 7)],
    ids=["empty", "zero", "trailing zeros", "a kilobyte", "several"],
)
def test_each_row_is_answered_with_its_length(bodies: tuple[bytes, ...]) -> None:
    """For any bytes."""
    (lengths,) = NullRunner().run(feed(*bodies))
    assert lengths.dtype == np.int64
    assert lengths.tolist() == [len(body) for body in bodies]


def test_it_is_a_runner() -> None:
    """It has the members that a lane calls; closing it has no effect."""
    runner = NullRunner()
    check_runner(runner, feed(b"a", b"", b"abc"))
    runner.close()


@pytest.mark.parametrize(("asked", "lanes"), [(None, 1), (3, 3)])
def test_it_is_loaded_for_one_lane_unless_more_are_asked_for(asked: int | None, lanes: int) -> None:
    """With a sample row for its only signature, and no image input."""
    lines: list[str] = []
    loaded = load_null(Settings(lanes=asked), lines.append)
    assert loaded.lanes == lanes
    assert loaded.signatures == loaded.runner.signatures == (LENGTHS,)
    assert {name: sample.rows for name, sample in loaded.samples.items()} == {LENGTHS.name: 1}
    assert (loaded.image_input, loaded.labels, loaded.decodes) == (None, (), False)
    assert lines == ["loading the null model"]
