"""Many models and versions on one server: each answer is that of the version asked for."""

import random
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from threading import Barrier

import orjson
import pytest
from PIL import Image

from tests.integration.clients import Answer, ask, connect, get, post
from tests.integration.repositories import Repository, code_of, outputs, rows_body

pytestmark = pytest.mark.full

CONNECTIONS = 12
REQUESTS = 60  #: of each connection

MODELS = ("adder", "jpegs", "keras")

#: What a path asks for after the name, and the version that answers.
SELECTIONS = {"": 2, "/versions/1": 1, "/versions/2": 2, "/labels/stable": 1}


def grey_jpeg(level: int) -> bytes:
    """Return an image whose pixels are all *level*."""
    file = BytesIO()
    Image.new("RGB", (20, 24), (level, level, level)).save(file, "JPEG", quality=100)
    return file.getvalue()


def ask_adder(draw: random.Random, code: int) -> tuple[bytes, list[list[float]]]:
    """Return a request with one to three rows, to either signature, and its outputs."""
    rows = [[draw.randrange(50), draw.randrange(50)] for _ in range(draw.randint(1, 3))]
    factor, signature = draw.choice([(1, "serving_default"), (2, "doubled")])
    return rows_body(*rows, signature=signature), [[x * factor + code for x in it] for it in rows]


def ask_keras(draw: random.Random, code: int) -> tuple[bytes, list[list[float]]]:
    """Return a request with one row, and its outputs."""
    row = [draw.randrange(50) for _ in range(3)]
    return rows_body(row), [[sum(row) + code]]


def ask_at_random(port: int, seed: int, together: Barrier) -> list[Answer]:
    """Ask for models, versions and labels at random on one connection; check each answer."""
    draw, connection, answers = random.Random(seed), connect(port), []  # noqa: S311 - which requests is no secret
    together.wait(60)
    for _ in range(REQUESTS):
        model = draw.randrange(3)
        selection, version = draw.choice(list(SELECTIONS.items()))
        code, path = code_of(model, version), f"/models/{MODELS[model]}{selection}"
        if MODELS[model] == "jpegs":
            level = draw.randrange(256)
            answer = ask(connection, grey_jpeg(level), path=path)
            scores = dict(answer.labels)
            assert scores["mean"] == pytest.approx(level, abs=2)
            assert scores["mean and code"] - scores["mean"] == pytest.approx(code, abs=0.01)
        else:
            body, expected = (ask_adder if model == 0 else ask_keras)(draw, code)
            answer = ask(connection, body, path=path)
            assert outputs(answer) == expected
        assert answer.headers["x-model-version"] == f"{MODELS[model]}/{version}"
        answers.append(answer)
    connection.close()
    return answers


def test_each_of_many_connections_gets_the_answers_of_the_versions_that_it_asks_for(
    repository: Repository,
) -> None:
    """Requests share batches, but none with a request for another model, version or signature."""
    together = Barrier(CONNECTIONS)
    with ThreadPoolExecutor(CONNECTIONS) as threads:
        shares = threads.map(
            lambda seed: ask_at_random(repository.server.port, seed, together), range(CONNECTIONS)
        )
        answers = [answer for share in shares for answer in share]
    assert len(answers) == CONNECTIONS * REQUESTS
    assert max(batch.rows for answer in answers for batch in answer.batches) > 3


#: Paths, and what the message of the 404 states.
MISSING = [
    ("/", "the request names no model, post to /models/NAME; there are: adder, jpegs, keras"),
    ("/models/nothing", "no model 'nothing' is served; there are: adder, jpegs, keras"),
    ("/models/keras/versions/7", "no version '7' of keras; there are: 1, 2"),
    ("/models/keras/labels/beta", "no label 'beta' of keras; there are: stable"),
    ("/models/keras/other", "expected /models/NAME, followed by /versions/V, /labels/L"),
]


@pytest.mark.parametrize(("path", "message"), MISSING)
def test_what_is_not_served_gets_a_404_that_names_what_is(
    repository: Repository, path: str, message: str
) -> None:
    """Models, versions and labels; `POST /` is for a server with one model."""
    answer = post(repository.server.port, rows_body([1, 2]), path=path)
    assert answer.status == 404
    # Models that other tests have added are named as well.
    assert all(part in answer.error for part in message.split(", "))


def test_the_report_lists_each_model_with_its_versions_and_labels(repository: Repository) -> None:
    """The newest version first."""
    reports = orjson.loads(get(repository.server.port, "/models").body)["models"]
    found = {it["name"]: it for it in reports}
    versions = [
        {"version": "2", "state": "serving", "reason": "", "labels": []},
        {"version": "1", "state": "serving", "reason": "", "labels": ["stable"]},
    ]
    for name in MODELS:
        assert found[name] == repository.report(name)
        assert found[name]["versions"] == versions
        assert found[name]["default_version"] == "2"
        assert found[name]["labels"] == {"stable": "1"}
