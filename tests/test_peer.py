"""The server as one of the compared servers: benchmarks/peer.py."""

from math import inf
from pathlib import Path

import numpy as np
import orjson
import pytest
from click.testing import CliRunner

from benchmarks.peer import main, write_best, write_length
from model.signature import Signature, TensorSpec
from server.api.dialect import Dialect
from server.api.native import NATIVE
from server.call import Outputs
from server.settings.table import Settings

SCORES = Signature((), (TensorSpec("scores", np.dtype(np.float32), (None, None)),))


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
    content = orjson.loads(write_best(Outputs(SCORES, (row,))).body)
    assert content == {"classes": classes, "scores": [scores[each] for each in classes]}


def test_the_answer_of_the_null_model_is_the_length() -> None:
    """As all compared servers write it."""
    assert write_length(Outputs(SCORES, (np.array([1024]),))).body == b'{"n":1024}'


@pytest.mark.parametrize(("variables", "default"), [({}, inf), ({"PEER_TIMEOUT_MS": "500"}, 0.5)])
def test_a_timeout_is_the_servers_default(
    variables: dict[str, str], default: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the variable there is none, not even a learned one."""
    served: list[Settings] = []

    def run(settings: Settings, **_: object) -> int:
        served.append(settings)
        return 0

    monkeypatch.setattr("benchmarks.peer.run", run)
    assert CliRunner().invoke(main, [], env=variables).exit_code == 0
    assert [settings.default_timeout for settings in served] == [default]


def test_the_table_is_served_in_the_dialect_of_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a Keras file; without one, or with the dialect of the null model, there is no start."""
    served: list[tuple[Settings, object]] = []

    def run(settings: Settings, *, dialect: Dialect, **_: object) -> int:
        served.append((settings, dialect))
        return 0

    monkeypatch.setattr("benchmarks.peer.run", run)
    table, file = ["--model", "table"], tmp_path / "table.keras"
    file.touch()
    native = {"PEER_TABLE": str(file), "PEER_DIALECT": "native"}
    assert CliRunner().invoke(main, table, env=native).exit_code == 0
    ((settings, dialect),) = served
    assert (settings.model, dialect) == (file, NATIVE)
    for name in native:
        result = CliRunner().invoke(main, table, env={**native, name: None})
        assert (result.exit_code, "--model table needs" in result.output) == (2, True)


@pytest.mark.parametrize(("options", "native"), [([], False), (["--dialect", "native"], True)])
def test_the_null_model_may_be_served_in_the_dialect_of_users(
    options: list[str], native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By default it speaks that of the compared servers."""
    spoken: list[object] = []

    def run(_: Settings, *, dialect: Dialect, **__: object) -> int:
        spoken.append(dialect)
        return 0

    monkeypatch.setattr("benchmarks.peer.run", run)
    assert CliRunner().invoke(main, options).exit_code == 0
    assert [dialect is NATIVE for dialect in spoken] == [native]


@pytest.mark.parametrize(
    ("options", "variables", "message"),
    [
        (["--model", "net"], {}, "--model net needs --graph"),
        ([], {"PEER_MODEL": "net"}, "--model net needs --graph"),
        ([], {"PEER_MODEL": "gross"}, "'gross' is not one of 'null', 'net'"),
        ([], {"PEER_TIMEOUT_MS": "-1"}, "-1.0 is not in the range x>=0"),
        (["--port", "http"], {}, "--port"),
        (["--model", "net", "--graph", "none.pb"], {}, "--graph"),
    ],
)
def test_a_wrong_option_is_an_error_at_once(
    options: list[str], variables: dict[str, str], message: str
) -> None:
    """On the command line as in a variable."""
    result = CliRunner().invoke(main, options, env=variables)
    assert result.exit_code == 2
    assert message in result.output
