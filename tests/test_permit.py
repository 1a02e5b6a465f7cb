"""Which requests may change what is served: server/api/permit.py, models_api.py."""

from collections.abc import Mapping
from pathlib import Path

import orjson
import pytest

from server.api.models_api import Permit
from server.api.permit import PermitToken, permit_any, permit_none
from server.http.cors import Cors
from tests.fakes.endpoint import IMAGE
from tests.fakes.http import head
from tests.fakes.models_api import ModelsServer

pytestmark = pytest.mark.usefixtures("log")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/models/pets/load"),
        ("POST", "/models/pets/versions/1/unload"),
        ("PUT", "/models/pets/labels/new"),
    ],
)
def test_every_change_needs_a_permit(method: str, path: str) -> None:
    """Reports and inference need none."""
    served = ModelsServer(permit_none)
    answer = served.send(method, path, b'{"version": 1}').answer
    assert (answer.status, served.changes.made) == (404, [])
    assert "--admin-token-file" in answer.json()["error"]
    assert served.send("GET", "/models").answer.status == 200
    served.send("POST", "/models/pets", IMAGE)
    assert len(served.inferences["2"].calls) == 1


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b"secret\n", {"Authorization": "Bearer secret"}, 200),
        (b"secret", {"Authorization": "bearer  secret "}, 200),
        (b"secret", {"Authorization": "BEARER secret"}, 200),
        (b"secret", {}, 401),
        (b"secret", {"Authorization": "secret"}, 401),
        (b"secret", {"Authorization": "Basic secret"}, 401),
        (b"secret", {"Authorization": "Bearer wrong"}, 401),
        (b"secret", {"Authorization": "Bearer secret2"}, 401),
        (b"secret", {"Authorization": "Bearer \xe9"}, 401),
        # An empty file permits nothing.
        (b"\n", {"Authorization": "Bearer "}, 401),
        (b"\n", {"Authorization": "Bearer"}, 401),
        (b"\xff", {"Authorization": "Bearer secret"}, 503),
        (None, {"Authorization": "Bearer secret"}, 503),
        # Without a token there is nothing to compare: the file is not read.
        (None, {}, 401),
        (None, {"Authorization": "Basic secret"}, 401),
        (None, {"Authorization": "Bearer "}, 401),
        (b"secret", {"Authorization": "Bearer secret", "Origin": "http://a"}, 403),
        (b"secret", {"Authorization": "Bearer secret", "Origin": ""}, 403),
    ],
)
def test_a_token_permits_changes(
    tmp_path: Path, content: bytes | None, headers: Mapping[str, str], status: int
) -> None:
    """The file is read for each request, so that the token can be changed."""
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    served = ModelsServer(PermitToken(file))
    answer = served.send("POST", "/models/pets/load", headers=headers).answer
    assert answer.status == status
    assert bool(served.changes.made) == (status == 200)
    assert ("www-authenticate" in answer.headers) == (status == 401)
    assert orjson.loads(answer.body).get("status", 200) == status


@pytest.mark.parametrize("permit", [permit_any, PermitToken(Path("/absent"))])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/models/pets/load"),
        ("POST", "/models/pets/versions/1/unload"),
        ("PUT", "/models/pets/labels/new"),
        ("PUT", "/models/%70ets/labels/new"),
    ],
)
def test_a_page_of_a_browser_may_change_nothing(permit: Permit, method: str, path: str) -> None:
    """Also where no token is asked for; no header permits it, before the change or with it."""
    served = ModelsServer(permit)
    origin = {"Origin": "http://a", "Access-Control-Request-Method": method}
    asked = served.send("OPTIONS", path, headers=origin).answer
    assert (asked.status, asked.headers["allow"]) == (
        200,
        "POST, PUT, OPTIONS" if "labels" in path else "POST, OPTIONS",
    )
    body = b'{"version": 1}' if method == "PUT" else b""
    refused = served.send(method, path, body, {"Origin": "http://a"}).answer
    assert (refused.status, refused.error) == (
        403, "a request with an Origin header may not change what is served"
    )  # fmt: skip
    headers = [*asked.headers, *refused.headers]
    assert not [name for name in headers if name.startswith("access-control")]
    assert served.changes.made == []


@pytest.mark.parametrize("permit", [permit_any, PermitToken(Path("/absent"))])
def test_a_permitted_origin_may_change_nothing(permit: Permit) -> None:
    """Its page can read the reason: the option is for requests that change nothing."""
    served = ModelsServer(permit)
    served.server.connections.cors = Cors(["*"])
    refused = served.send("POST", "/models/pets/load", headers={"Origin": "http://a"}).answer
    assert (refused.status, refused.headers["access-control-allow-origin"]) == (403, "*")
    assert served.changes.made == []


@pytest.mark.parametrize(
    ("method", "path"), [("PUT", "/models/pets/labels/new"), ("POST", "/models/pets/load")]
)
def test_a_change_without_a_permit_is_refused_before_its_body_is_received(
    method: str, path: str
) -> None:
    """So that a client without the token can send no large body."""
    served = ModelsServer(PermitToken(Path("/absent")))
    client = served.server.connect()
    client.send(head("Content-Length: 60000", method=method, target=path))
    assert client.answer.status == 401
