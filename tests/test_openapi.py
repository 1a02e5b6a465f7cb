"""The description of the API: server/api/description.py and server/api/openapi/."""

import gc
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote
from weakref import ref

import orjson
import pytest

from server.api.openapi.parts import COMPONENTS, ERROR_FORMS
from server.api.permit import PermitToken
from server.http.cors import ALLOWED_METHODS
from server.http.error_statuses import NATIVE_STATUSES
from tests.fakes.described import MODELS, DescribedServer

pytestmark = pytest.mark.usefixtures("log")

#: Values for the names in braces.
NAMES = {"model": "pets", "version": "1", "label": "live"}


def operations(document: Any) -> dict[tuple[str, str], Any]:
    """Return the operations in *document* by their methods and paths."""
    return {
        (method.upper(), path): operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
    }


def references(value: Any) -> Iterator[str]:
    """Yield the references in *value*."""
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        for each in value.values():
            yield from references(each)
    elif isinstance(value, list):
        for each in value:
            yield from references(each)


def test_the_document_has_every_route_and_no_other() -> None:
    """While no model is ready, too; a route without operations refuses every request."""
    server = DescribedServer()
    described = operations(server.document())
    of_routes = {
        (route.method, each.path): route for route in server.routes for each in route.operations
    }
    assert described.keys() == of_routes.keys()
    for (method, path), route in of_routes.items():
        match = server.server.router.match(method.encode(), path.format(**NAMES).encode())
        assert match is not None
        assert match.route is route, (method, path)
    for route in server.routes:
        if not route.operations:
            prefix = "" if route.path.startswith("/models") else "models/"
            path = route.path.replace("*", f"{prefix}pets")
            status = 200 if route.method == "OPTIONS" else 405
            assert server.ask(route.method, path).status == status, route.name


def test_the_paths_of_the_dialects_are_described() -> None:
    """As their own tables have them."""
    paths = DescribedServer().document()["paths"]
    assert {
        "/",
        "/models",
        "/models/{model}/labels/{label}",
        "/models/{model}/versions/{version}/unload",
        "/v1/models/{model}/labels/{label}:classify",
        "/v1/models/{model}/versions/{version}/metadata",
        "/v2",
        "/v2/models/{model}/versions/{version}/infer",
        "/v2/repository/models/{model}/load",
        "/openapi.json",
    } <= paths.keys()
    assert paths["/models/{model}/labels/{label}"].keys() == {"post", "put"}


def test_all_that_operations_need_is_there() -> None:
    """Names of operations are unique, references are resolved, parameters are those of the path."""
    document = DescribedServer(*MODELS).document()
    described = operations(document)
    ids = [it["operationId"] for it in described.values()]
    assert len(set(ids)) == len(ids)
    tags = {tag["name"] for tag in document["tags"]}
    for (method, path), it in described.items():
        assert method in ALLOWED_METHODS
        assert set(it["tags"]) <= tags
        assert re.fullmatch(r"[A-Z].*\.", it["summary"])
        named = {parameter["$ref"].rpartition("/")[2] for parameter in it["parameters"]}
        assert set(re.findall(r"{(\w+)}", path)) == named & NAMES.keys()
    for reference in set(references(document)):
        found = document
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]
    assert set(ERROR_FORMS) == tags


def test_every_status_of_inference_is_described() -> None:
    """In each dialect: those of all kinds of errors; one has 503 in the place of 429."""
    described = operations(DescribedServer().document())
    for path, missing in [
        ("/", set()),
        ("/v1/models/{model}:predict", set()),
        ("/v2/models/{model}/infer", {"429"}),
    ]:
        statuses = {str(status) for status in NATIVE_STATUSES.values()}
        assert statuses - described["POST", path]["responses"].keys() == missing
    for name, answer in COMPONENTS["responses"].items():
        assert ("Retry-After" in answer["headers"]) == name.endswith(("429", "503"))


def test_the_token_is_described_where_a_change_needs_it(tmp_path: Path) -> None:
    """Changes alone; on the address of the administrator there is none."""
    described = operations(DescribedServer(permit=PermitToken(tmp_path)).document())
    secured = {key for key, it in described.items() if "security" in it}
    assert secured == {
        ("POST", "/models/{model}/load"),
        ("POST", "/models/{model}/unload"),
        ("POST", "/models/{model}/versions/{version}/load"),
        ("POST", "/models/{model}/versions/{version}/unload"),
        ("PUT", "/models/{model}/labels/{label}"),
        ("POST", "/v2/repository/models/{model}/load"),
        ("POST", "/v2/repository/models/{model}/unload"),
    }
    assert not any("security" in it for it in operations(DescribedServer().document()).values())


def test_every_example_of_every_model_is_answered() -> None:
    """In every dialect; the models have tensors of all types, and images."""
    server = DescribedServer(*MODELS)
    posted = 0
    for (method, path), operation in operations(server.document()).items():
        body = operation.get("requestBody", {"content": {}})["content"].get("application/json", {})
        for name, example in body.get("examples", {}).items():
            content = orjson.dumps(example["value"])
            answer = server.ask(method, path, content, {"Content-Type": "application/json"})
            assert answer.status == 200, (path, name, example, answer.body)
            posted += 1
    assert posted > 3 * len(MODELS)


def test_a_model_has_its_tensors_in_its_own_paths() -> None:
    """Shapes, types and names; a model of images takes image files, too."""
    described = operations(DescribedServer("several", "pets").document())
    body = described["POST", "/models/several"]["requestBody"]["content"]
    (request,) = body["application/json"]["schema"]["anyOf"]
    (inputs,) = request["properties"]["inputs"]["anyOf"]
    assert inputs["properties"] == {
        "b": {
            "type": "array",
            "items": {"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1},
            "minItems": 1,
        },
        "a": {
            "type": "array",
            "items": {
                "type": "array",
                "items": {
                    "type": "number",
                    "description": "float32",
                    "exclusiveMinimum": -(2.0**128 - 2.0**103),
                    "exclusiveMaximum": 2.0**128 - 2.0**103,
                },
                "minItems": 2,
                "maxItems": 2,
            },
            "minItems": 1,
        },
    }
    assert body.keys() == {"application/json"}
    assert described["GET", "/models/several"]["summary"] == "Report on several."
    assert "image/*" in described["POST", "/models/pets"]["requestBody"]["content"]
    for path in ("/v1/models/pets:predict", "/v2/models/pets/infer"):
        examples = described["POST", path]["requestBody"]["content"]["application/json"]["examples"]
        assert "an image for serving_default" in examples


def test_the_document_follows_loads_and_unloads() -> None:
    """And does not keep in memory what is unloaded."""
    server = DescribedServer("rows")
    generic = DescribedServer().document()["paths"].keys()
    own = {"/models/rows", "/v1/models/rows:predict", "/v2/models/rows/infer"}
    assert server.document()["paths"].keys() == generic | own
    replaced = ref(server.models.find("rows"))
    server.load("rows", "2")
    assert server.document()["paths"].keys() == generic | own
    gc.collect()
    assert replaced() is None
    server.models.route("rows", None)
    assert server.document()["paths"].keys() == generic


def test_many_models_are_written_one_in_a_turn() -> None:
    """Other requests are served meanwhile; the second time all are at hand."""
    server = DescribedServer(*MODELS)
    client, other = server.server.connect(), server.server.connect()
    client.send(b"GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n")
    order = []

    def ask() -> None:
        other.send(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        order.append((len(other.statuses), len(client.statuses)))
        if not client.received:
            server.clock.callLater(0, ask)

    server.clock.callLater(0, ask)
    server.clock.advance(0)
    assert order == [(turn + 1, turn + 1 == len(order)) for turn in range(len(MODELS))]
    again = server.server.connect()
    again.send(b"GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n")
    assert again.answer.body == client.answer.body


def test_a_client_that_hangs_up_ends_the_work() -> None:
    """No timer remains."""
    server = DescribedServer(*MODELS)
    client = server.server.connect()
    client.send(b"GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n")
    client.hang_up()
    assert server.server.is_clean()


def test_a_name_may_have_any_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model of a single file is named for it."""
    name = "my {model} 1/2"
    monkeypatch.setitem(MODELS, name, MODELS["rows"])
    server = DescribedServer(name)
    described = operations(server.document())
    path = f"/models/{quote(name, safe='')}"
    examples = described["POST", path]["requestBody"]["content"]["application/json"]["examples"]
    for example in examples.values():
        assert server.ask("POST", path, orjson.dumps(example["value"])).status == 200
