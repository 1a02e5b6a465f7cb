"""Bodies that no client should send, and the requests beside them, with the default model."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import Event

import orjson
import pytest

from tests.hostile_bodies import EXTREME, HUGE, TARGETS, Body
from tests.integration.clients import Answer, ask, connect, get, post
from tests.integration.photos import jpeg
from tests.integration.servers import Server

pytestmark = pytest.mark.full

#: The longest time that a request beside a hostile body may take, in seconds.
MAX_SECONDS = 15.0

PHOTO = "coffee.png"


def name_of_model(server: Server) -> str:
    """Return the name of the only model of *server*."""
    (name,) = orjson.loads(get(server.port, "/v1/models").body)["models"]
    return str(name)


@pytest.mark.parametrize("bodies", [EXTREME, HUGE], ids=["extreme", "huge"])
@pytest.mark.parametrize("dialect", ["native, an image", "TensorFlow Serving", "v2, JSON"])
def test_a_hostile_body_does_not_stop_other_requests(
    server: Server, bodies: dict[str, Callable[[], Body]], dialect: str
) -> None:
    """It is refused, and a client that sends one photo after the other gets right answers."""
    path = TARGETS[dialect].path.replace("/pets", f"/{name_of_model(server)}")
    done = Event()

    def send_photos() -> list[Answer]:
        answers: list[Answer] = []
        with closing(connect(server.port)) as connection:
            while not (done.is_set() and answers):
                answers.append(ask(connection, jpeg(PHOTO)))
        return answers

    for name, make in bodies.items():
        body, kind = make()
        done.clear()
        with ThreadPoolExecutor(1) as thread:
            photos = thread.submit(send_photos)
            refused = post(server.port, body, path=path, headers={"Content-Type": kind})
            done.set()
            answers = photos.result()
        assert refused.status in (400, 413, 415, 429), (name, refused)
        content = orjson.loads(refused.body)
        for entry in content if isinstance(content, list) else [content]:
            assert entry["error"].replace("\n", "").isprintable(), (name, entry)
        assert {answer.best for answer in answers} == {"espresso"}, name
        assert max(answer.seconds for answer in answers) < MAX_SECONDS, name
