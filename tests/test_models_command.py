"""`tensorferry models`, the commands for a model repository: scripts/models.py."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result
from twisted.internet.task import Clock

from scripts.models import models
from tests.fakes.model_server import Answer, FakeModelServer, model, refused, version

FLOWERS = model(version(4, "serving"), version(3, "serving", "", "stable", "old"))
PETS = model(
    version(2, "failed", "no file holds a model\x1b"), name="pets", problem="serving.toml: bad"
)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time of the commands, which a wait of theirs moves."""
    clock = Clock()
    time = SimpleNamespace(monotonic=clock.seconds, sleep=clock.advance)
    monkeypatch.setattr("scripts.models.time", time)
    return clock


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    """A file with a token."""
    path = tmp_path / "token"
    path.write_text("s3cret\n")
    return path


def run(server: FakeModelServer, *arguments: str) -> Result:
    """Return the result of a command for *server*."""
    return CliRunner().invoke(models, [*arguments, "--server", server.address])


def answered(*arguments: str, answers: tuple[Answer, ...]) -> tuple[Result, FakeModelServer]:
    """Return the result of a command for a server with these *answers*, and the server."""
    with FakeModelServer(*answers) as server:
        return run(server, *arguments), server


def test_list_shows_each_version_in_aligned_columns() -> None:
    """Control characters are escaped; a problem of a model is reported on standard error."""
    nothing = model(name="trees")
    result, server = answered("list", answers=({"models": [FLOWERS, PETS, nothing]},))
    assert result.stdout.splitlines() == [
        "MODEL    VERSION  STATE       LABELS       REASON",
        "flowers  4        serving",
        "flowers  3        serving     stable, old",
        r"pets     2        failed                   no file holds a model\x1b",
        "trees    -        no version",
    ]
    assert (result.exit_code, result.stderr) == (0, "pets: serving.toml: bad\n")
    assert [(it.method, it.path) for it in server.received] == [("GET", "/models")]


def test_list_reports_an_empty_repository() -> None:
    """With the address of the server."""
    result, server = answered("list", answers=({"models": []},))
    assert result.stdout == f"no model in the repository of {server.address}\n"


def test_show_adds_what_belongs_to_the_model() -> None:
    """The weight, the default version and a problem stand above its versions."""
    result, _ = answered("show", "flowers", answers=(FLOWERS,))
    assert result.stdout.splitlines() == [
        "weight: 1",
        "default version: 4",
        "",
        "MODEL    VERSION  STATE    LABELS       REASON",
        "flowers  4        serving",
        "flowers  3        serving  stable, old",
    ]
    result, _ = answered("show", "pets", answers=(PETS,))
    lines = result.stdout.splitlines()
    assert lines[1:3] == ["default version: none", "problem: serving.toml: bad"]


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["list"], {"models": [FLOWERS], "more": 1}),
        (["show", "flowers"], FLOWERS | {"more": 1}),
        (["load", "flowers"], FLOWERS | {"more": 1}),
    ],
)
def test_json_is_the_answer_of_the_server(arguments: list[str], answer: dict[str, Any]) -> None:
    """With keys that the command does not know."""
    result, _ = answered(*arguments, "--json", answers=(answer,))
    assert json.loads(result.stdout) == answer
    assert (result.exit_code, result.stderr) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "request_line", "body"),
    [
        (["list"], "GET /models", ""),
        (["show", "flowers"], "GET /models/flowers", ""),
        (["show", "a/b c%\u00fc?"], "GET /models/a%2Fb%20c%25%C3%BC%3F", ""),
        (["load", "flowers"], "POST /models/flowers/load", ""),
        (["load", "flowers", "--version", "3"], "POST /models/flowers/versions/3/load", ""),
        (["unload", "flowers", "--no-wait"], "POST /models/flowers/unload", ""),
        (["unload", "a#b", "--version", "0"], "POST /models/a%23b/versions/0/unload", ""),
        (
            ["label", "flowers", "stable", "4"],
            "PUT /models/flowers/labels/stable",
            '{"version":4}',
        ),
        (["label", "a b", "x/y", "4"], "PUT /models/a%20b/labels/x%2Fy", '{"version":4}'),
        (
            ["label", "flowers", "stable", "--remove"],
            "PUT /models/flowers/labels/stable",
            '{"version":null}',
        ),
    ],
)
@pytest.mark.parametrize("unix", [False, True])
def test_each_command_sends_one_request(
    arguments: list[str], request_line: str, body: str, unix: bool, tmp_path: Path, token_file: Path
) -> None:
    """With the token, over TCP and over a unix socket; names are escaped in the path."""
    answer = {"models": []} | FLOWERS
    with FakeModelServer(answer, path=tmp_path / "socket" if unix else None) as server:
        result = run(server, *arguments, "--token-file", str(token_file))
    assert (result.exit_code, result.stderr) == (0, "")
    (request,) = server.received
    assert f"{request.method} {request.path}" == request_line
    assert request.body.decode() == body
    assert request.headers["Authorization"] == "Bearer s3cret"
    assert request.headers.get("Content-Type") == ("application/json" if body else None)


def test_no_token_is_sent_without_a_token_file() -> None:
    """The default."""
    _, server = answered("list", answers=({"models": []},))
    assert "Authorization" not in server.received[0].headers


SERVING = model(version(4, "serving"), version(3, "serving"))
LOADING = model(version(4, "loading"), version(3, "serving"))
FAILED = model(version(4, "failed", "bad graph"), version(3, "serving"))
DRAINING = model(version(4, "serving"), version(3, "draining"))
GONE = model(version(4, "serving"), version(3, "not served"))
COPIED = model(version(4, "incomplete", "a.pb is missing"), version(3, "serving"))
WAITING = model(version(4, "waiting", "needs 3 GB"), version(3, "serving"))
NONE = model(version(4, "not served"), version(3, "not served"))
REPLACING = model(version(4, "serving"), version(3, "loading"))
UNLOADED = model(version(4, "loading"), version(3, "not served"))

BAD_GRAPH = "Error: version 4 of flowers failed: bad graph\n"
MISSING = "version 4 of flowers is incomplete: a.pb is missing\n"
LATE_UNLOAD = "Error: after 1 s version 3 of flowers is draining\n"
LABEL = ["label", "flowers", "stable", "4"]
UNLOAD = ["unload", "flowers", "--version", "3"]


@pytest.mark.parametrize(
    ("arguments", "answers", "reads", "stderr"),
    [
        (["load", "flowers"], [SERVING], 0, ""),
        (["load", "flowers"], [LOADING, LOADING, DRAINING, GONE], 3, ""),
        (["load", "flowers"], [LOADING, FAILED], 1, BAD_GRAPH),
        (["load", "flowers"], [COPIED], 0, ""),
        (["load", "flowers", "--version", "4"], [LOADING, DRAINING], 1, ""),
        (["load", "flowers", "--version", "4"], [COPIED, LOADING, SERVING], 2, ""),
        (["load", "flowers", "--version", "4"], [WAITING, FAILED], 1, BAD_GRAPH),
        (["load", "flowers", "--version", "3"], [FAILED], 0, ""),
        (
            ["load", "flowers", "--version", "4", "--timeout", "1"],
            [COPIED],
            5,
            "Error: after 1 s " + MISSING,
        ),
        (
            ["load", "flowers", "--version", "7", "--timeout", "400ms"],
            [SERVING],
            2,
            "Error: after 400 ms flowers has no version 7\n",
        ),
        (
            ["load", "flowers", "--timeout", "1"],
            [WAITING],
            5,
            "Error: after 1 s version 4 of flowers is waiting: needs 3 GB\n",
        ),
        (["load", "flowers", "--no-wait"], [LOADING], 0, ""),
        (["load", "flowers", "--no-wait"], [FAILED], 0, ""),
        (["unload", "flowers"], [DRAINING, REPLACING, NONE], 2, ""),
        # A version serves until those that take its place do; others of the model do not matter.
        (UNLOAD, [LOADING, DRAINING, UNLOADED], 2, ""),
        (UNLOAD, [UNLOADED], 0, ""),
        ([*UNLOAD, "--timeout", "1"], [SERVING, DRAINING], 5, LATE_UNLOAD),
        (LABEL, [LOADING, SERVING], 1, ""),
        (LABEL, [LOADING, FAILED], 1, BAD_GRAPH),
        (LABEL, [COPIED], 0, "Error: " + MISSING),
        (LABEL, [NONE], 0, "Error: version 4 of flowers is not served\n"),
        (LABEL, [REPLACING], 0, ""),
        (LABEL, [WAITING, DRAINING], 1, ""),
        ([*LABEL, "--no-wait"], [LOADING], 0, ""),
        (["label", "flowers", "stable", "3"], [FAILED], 0, ""),
        (["label", "flowers", "stable", "--remove"], [DRAINING], 0, ""),
    ],
)
def test_a_change_is_awaited(
    clock: Clock, arguments: list[str], answers: list[Answer], reads: int, stderr: str
) -> None:
    """From the states in the answer on; a version that does not serve in the end is an error."""
    result, server = answered(*arguments, answers=tuple(answers))
    assert result.stderr == stderr
    assert result.exit_code == (1 if stderr else 0)
    assert "flowers  3" in result.stdout
    assert [it.path for it in server.received[1:]] == ["/models/flowers"] * reads
    assert {it.method for it in server.received[1:]} <= {"GET"}
    assert clock.seconds() == pytest.approx(0.2 * reads)


@pytest.mark.usefixtures("clock")
def test_a_refusal_during_the_wait_ends_it() -> None:
    """With the error of the server."""
    answers = (LOADING, refused(404, "no model flowers"))
    result, _ = answered("load", "flowers", answers=answers)
    assert (result.exit_code, result.output) == (1, "Error: no model flowers\n")


def test_an_error_in_several_parts_is_one_line(clock: Clock) -> None:
    """All versions that fail, then those that are late."""
    both = model(version(5, "failed", "bad\ngraph"), version(4, "failed"), version(3, "loading"))
    result, server = answered("load", "flowers", "--timeout", "300ms", answers=(both,))
    assert result.stderr == (
        r"Error: version 5 of flowers failed: bad\ngraph; version 4 of flowers failed; "
        "after 300 ms version 3 of flowers is loading\n"
    )
    assert len(server.received) == 3
    assert clock.seconds() == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["label", "flowers", "stable"], "give VERSION or --remove, and not both"),
        (["label", "flowers", "stable", "3", "--remove"], "give VERSION or --remove"),
        (["label", "flowers", "stable", "x"], "'x' is not a valid integer"),
        (["load", "flowers", "--version", "-1"], "-1 is not in the range 0<=x<="),
        (["label", "flowers", "stable", "9" * 20], "is not in the range 0<=x<="),
        (["load", ""], "the name is empty"),
        (["label", "flowers", "", "3"], "the name is empty"),
        (["load", "flowers", "--timeout", "x"], "expected a duration such as 200ms"),
    ],
)
def test_wrong_arguments_send_nothing(arguments: list[str], message: str) -> None:
    """With exit code 2, as every error of usage."""
    result, server = answered(*arguments, answers=(FLOWERS,))
    assert result.exit_code == 2
    assert message in result.stderr
    assert server.received == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file or directory"),
        ("", "expected one word of ASCII characters"),
        ("two words", "expected one word of ASCII characters"),
        ("a\r\nX: y", "expected one word of ASCII characters"),
        ("gr\u00fcn", "expected one word of ASCII characters"),
    ],
)
def test_a_bad_token_file_is_an_error_in_one_line(
    tmp_path: Path, content: str | None, message: str
) -> None:
    """Nothing is sent."""
    path = tmp_path / "token"
    if content is not None:
        path.write_text(content)
    result, server = answered("list", "--token-file", str(path), answers=({"models": []},))
    assert (result.exit_code, result.stderr) == (1, f"Error: the token file {path}: {message}\n")
    assert server.received == []


def test_the_help_imports_no_client() -> None:
    """So that it is fast."""
    heavy = {"http.client", "ssl", "twisted", "numpy", "rich", "model"}
    program = f"import sys, scripts.models; sys.exit(repr({heavy} & {{*sys.modules}}))"
    ran = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True
    )
    assert ran.stderr == "set()\n"
