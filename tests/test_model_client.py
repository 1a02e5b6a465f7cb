"""The HTTP client of a model repository, and its errors: scripts/model_client.py."""

import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from scripts.model_client import ModelServer, ModelServerError
from scripts.models import models
from tests.certificates import certified
from tests.fakes.model_server import Answer, FakeModelServer, model, refused, version

PETS = model(version(1, "serving"), name="pets")

FOREIGN = (
    "{address} is not a TensorFerry server with a model repository: "
    "unexpected answer to GET /models/pets "
)
NOT_HTTP = "{address} is not a TensorFerry server: its answer is not HTTP"


def error_of(address: str, call: Callable[[ModelServer], object]) -> str:
    """Return the message of the error that *call* raises for the server at *address*."""
    with pytest.raises(ModelServerError) as caught:
        call(ModelServer(address))
    return str(caught.value)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (refused(401, "a token is needed"), "a token is needed"),
        (refused(409, "the repository\nis read-only\x1b"), r"the repository\nis read-only\x1b"),
        ((404, b"<html>"), FOREIGN + "(status 404)"),
        ((404, b"{}"), FOREIGN + "(status 404)"),
        ((404, b"[]"), FOREIGN + "(status 404)"),
        ((500, b'{"error":""}'), FOREIGN + "(status 500)"),
        ((500, b'{"error":{}}'), FOREIGN + "(status 500)"),
        ((301, b""), FOREIGN + "(status 301)"),
        ((200, b"hello"), FOREIGN + "(status 200)"),
        ((200, b"[1]"), FOREIGN + "(status 200)"),
        ((200, b"null"), FOREIGN + "(status 200)"),
        (PETS | {"versions": {}}, FOREIGN + "(status 200)"),
        (PETS | {"versions": [3]}, FOREIGN + "(status 200)"),
        (PETS | {"weight": "heavy"}, FOREIGN + "(status 200)"),
        (PETS | {"name": 3}, FOREIGN + "(status 200)"),
        (PETS | {"default_version": 3}, FOREIGN + "(status 200)"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{}", FOREIGN + "(status 200)"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", NOT_HTTP),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", NOT_HTTP),
        (b"", "{address} has closed the connection without an answer"),
    ],
)
def test_an_answer_that_is_no_model_is_an_error_in_words(answer: Answer, message: str) -> None:
    """The error of the server if it has one, and otherwise which answer was unexpected."""
    with FakeModelServer(answer) as server:
        found = error_of(server.address, lambda client: client.model("pets"))
    assert found == message.replace("{address}", server.address)


@pytest.mark.parametrize("answer", [PETS, {"models": {}}, {"models": [3]}, (200, b"[]")])
def test_a_list_that_is_none_is_an_error_in_words(answer: Answer) -> None:
    """As for one model."""
    with FakeModelServer(answer) as server:
        found = error_of(server.address, ModelServer.repository)
    assert found == (
        f"{server.address} is not a TensorFerry server with a model repository: "
        "unexpected answer to GET /models (status 200)"
    )


def test_the_path_of_a_url_precedes_that_of_the_repository() -> None:
    """With and without a slash at its end; variables that name a proxy are ignored."""
    with FakeModelServer(PETS) as server:
        for path in ("", "/", "/a", "/a/"):
            ModelServer(server.address + path).model("pets")
        ModelServer(server.address.removeprefix("http://")).model("pets")
    paths = [it.path for it in server.received]
    assert paths == ["/models/pets"] * 2 + ["/a/models/pets"] * 2 + ["/models/pets"]


def test_a_bare_path_is_a_unix_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the root, or from the working folder."""
    monkeypatch.chdir(tmp_path)
    with FakeModelServer(PETS, path=tmp_path / "socket") as server:
        for address in (f"{tmp_path}/socket", "./socket", "unix:socket"):
            assert ModelServer(address).model("pets").name == "pets"
    assert [it.headers["Host"] for it in server.received] == ["localhost"] * 3


def test_a_server_that_cannot_be_reached_is_an_error_in_words(tmp_path: Path) -> None:
    """With its address and the reason."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (tmp_path / "file").touch()
    long = "unix:/" + "a" * 200
    reasons = {
        f"127.0.0.1:{port}": "Connection refused",
        f"unix:{tmp_path}/none": "No such file or directory",
        f"{tmp_path}/file": "Connection refused",
        long: "AF_UNIX path too long",
        "http://a..b": "not a valid host name",
    }
    for address, reason in reasons.items():
        found = error_of(address, ModelServer.repository)
        assert found == f"cannot reach {address}: {reason}"


def test_a_silent_server_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the timeout of an exchange."""
    monkeypatch.setattr("scripts.model_client.TIMEOUT_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        found = error_of(address, ModelServer.repository)
    assert found == f"no answer from {address} within 0.05 s"


def test_a_certificate_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that the system trusts is taken, and any other is an error in words."""
    with FakeModelServer(PETS, tls=certified(tmp_path)) as server:
        found = error_of(server.address, lambda client: client.model("pets"))
        assert found == (
            f"the certificate of {server.address} is not accepted: self-signed certificate"
        )
        other = server.address.replace("localhost", "127.0.0.1")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
        assert ModelServer(server.address).model("pets").name == "pets"
        found = error_of(other, lambda client: client.model("pets"))
        assert found.startswith(f"the certificate of {other} is not accepted: IP address mismatch")
    with FakeModelServer(PETS) as server:
        address = server.address.replace("http:", "https:")
        found = error_of(address, lambda client: client.model("pets"))
        assert found.startswith(f"no TLS connection to {address}: ")


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("", "expected a URL such as http://localhost:12480, got ''"),
        ("unix:", "expected a path as in unix:/run/tensorferry.sock, got 'unix:'"),
        ("http://u:p@host/", "a URL with a user name is not supported; give --token-file"),
        ("http://host/?a=b", "expected a URL without a query, got 'http://host/?a=b'"),
        ("ftp://host", "expected an http or https URL, got 'ftp://host'"),
    ],
)
def test_a_bad_address_is_an_error_of_usage(address: str, message: str) -> None:
    """With exit code 2."""
    result = CliRunner().invoke(models, ["list", "--server", address])
    assert result.exit_code == 2
    assert f"Invalid value for --server: {message}" in result.stderr
