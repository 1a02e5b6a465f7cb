"""
The HTTP client of the model repository of a server, for `tensorferry models`.

Each request has a connection of its own, over TCP, TLS or a unix socket, without a proxy.  Every
call blocks; it fails if the server is silent for `TIMEOUT_SECONDS`.
"""

import os
import re
import socket
import ssl
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection, RemoteDisconnected
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import orjson

from scripts.server_url import ServerURL, split_url
from server.settings.option import printable
from tensorferry import __version__

T = TypeVar("T")

#: The longest time for a connection, and for the server to send or read more bytes.
TIMEOUT_SECONDS = 10.0

#: The largest answer that is read; the answer of a repository is some kilobytes.
MAX_ANSWER_BYTES = 1 << 24


#: Stands for the URL of a server on a unix socket.
_LOCAL = ServerURL(secure=False, host="localhost", port=80, path="/")


class ModelServerError(Exception):
    """The server refuses the request or cannot be reached; the message is the reason, one line."""


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One version of a model in the repository, as the server reports it."""

    version: str
    state: str
    reason: str  #: of this state; empty if it needs none
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Model:
    """One model in the repository, as the server reports it."""

    name: str
    default_version: str | None
    weight: float
    problem: str  #: with its folder or serving.toml; empty if there is none
    notes: tuple[str, ...]  #: what files of another server state without effect
    versions: tuple[ModelVersion, ...]  #: the newest first
    data: Mapping[str, Any]  #: the JSON object of the answer


@dataclass(frozen=True, slots=True)
class Repository:
    """All models in the repository, as the server reports them."""

    models: tuple[Model, ...]
    data: Mapping[str, Any]  #: the JSON object of the answer


class ModelServer:
    """
    The server at *address*: a URL, or a unix socket as `unix:PATH`, `/PATH`, `./PATH` or `../PATH`.

    Each request has *token* in its header, unless it is empty.  Raises ValueError if *address* is
    none of these.  The methods raise `ModelServerError`.
    """

    def __init__(self, address: str, token: str = "") -> None:
        self.address = printable(address)
        self._token = token
        self._socket_path = _socket_path(address)
        self._url = _LOCAL if self._socket_path else split_url(address, instead="--token-file")
        if "?" in self._url.path:
            raise ValueError(f"expected a URL without a query, got {address!r}")

    def repository(self) -> Repository:
        """Return all models."""
        data, request = self._ask("GET", "")
        try:
            models = _expect(list, data["models"])
            return Repository(tuple(_parse_model(model) for model in models), data)
        except (KeyError, TypeError, ValueError) as error:
            raise self._foreign(request) from error

    def model(self, name: str) -> Model:
        """Return the model *name*."""
        return self._ask_model("GET", _path(name))

    def load(self, name: str, version: int | None) -> Model:
        """
        Serve *version*, or what serving.toml states if it is None; return the model as it then is.
        """
        return self._ask_model("POST", _path(name, version) + "/load")

    def unload(self, name: str, version: int | None) -> Model:
        """Stop serving *version*, or all if it is None; return the model as it then is."""
        return self._ask_model("POST", _path(name, version) + "/unload")

    def label(self, name: str, label: str, version: int | None) -> Model:
        """Set *label* to *version*, or remove it if that is None; return the model after it."""
        return self._ask_model(
            "PUT", _path(name) + f"/labels/{_quote(label)}", {"version": version}
        )

    def _ask_model(self, method: str, path: str, body: Mapping[str, object] | None = None) -> Model:
        data, request = self._ask(method, path, body)
        try:
            return _parse_model(data)
        except (KeyError, TypeError, ValueError) as error:
            raise self._foreign(request) from error

    def _ask(
        self, method: str, path: str, body: Mapping[str, object] | None = None
    ) -> tuple[Any, str]:
        """Return the JSON value of the answer, and the request in words for an error message."""
        target = self._url.path.rstrip("/") + "/models" + path
        status, answer = self._exchange(method, target, body)
        request = f"{method} {target} (status {status})"
        try:
            data = orjson.loads(answer)
        except ValueError as error:
            raise self._foreign(request) from error
        if status == 200:
            return data, request
        problem = data.get("error") if isinstance(data, dict) else None
        if not isinstance(problem, str) or not problem:
            raise self._foreign(request)
        raise ModelServerError(printable(problem))

    def _exchange(
        self, method: str, target: str, body: Mapping[str, object] | None
    ) -> tuple[int, bytes]:
        headers = {
            "Accept": "application/json",
            "Connection": "close",
            "User-Agent": f"tensorferry-models/{__version__}",
        }
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        if body is not None:
            headers["Content-Type"] = "application/json"
        data = None if body is None else orjson.dumps(body)
        try:
            with closing(self._connection()) as connection:
                connection.request(method, target, data, headers)
                with connection.getresponse() as response:
                    return response.status, response.read(MAX_ANSWER_BYTES)
        except (OSError, UnicodeError, HTTPException) as error:
            raise ModelServerError(_reason(error, self.address)) from error

    def _connection(self) -> HTTPConnection:
        if self._socket_path:
            return _UnixConnection(self._socket_path)
        kind = HTTPSConnection if self._url.secure else HTTPConnection
        return kind(self._url.host, self._url.port, timeout=TIMEOUT_SECONDS)

    def _foreign(self, request: str) -> ModelServerError:
        return ModelServerError(
            f"{self.address} is not a TensorFerry server with a model repository: "
            f"unexpected answer to {request}"
        )


class _UnixConnection(HTTPConnection):
    """A connection to the unix socket at *path*."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT_SECONDS)
        self._path = path

    def connect(self) -> None:
        """Connect now; raises OSError."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT_SECONDS)
        self.sock.connect(self._path)


def read_token(path: Path) -> str:
    """Return the token in the file at *path*; raises `ModelServerError`."""
    try:
        token = path.read_text("latin-1").strip()
    except OSError as error:
        raise ModelServerError(printable(f"the token file {path}: {error.strerror}")) from error
    if re.fullmatch("[!-~]+", token) is None:
        raise ModelServerError(
            printable(f"the token file {path}: expected one word of ASCII characters")
        )
    return token


def _socket_path(address: str) -> str:
    """Return the path of the unix socket that *address* names; empty if it is a URL."""
    if address.startswith("unix:"):
        path = address.removeprefix("unix:")
        if not path:
            raise ValueError(f"expected a path as in unix:/run/tensorferry.sock, got {address!r}")
        return path
    return address if address.startswith(("/", "./", "../")) else ""


def _path(name: str, version: int | None = None) -> str:
    """Return the path of a model below /models, or of its *version*."""
    return f"/{_quote(name)}" + ("" if version is None else f"/versions/{version}")


def _quote(name: str) -> str:
    return quote(os.fsencode(name), safe="")


def _reason(error: Exception, address: str) -> str:
    """Return why there is no answer from *address*."""
    match error:
        case ssl.SSLCertVerificationError():
            reason = f"the certificate of {address} is not accepted: {error.verify_message}"
        case ssl.SSLError():
            reason = f"no TLS connection to {address}: {error.reason or error}"
        case TimeoutError():
            reason = f"no answer from {address} within {TIMEOUT_SECONDS:g} s"
        case RemoteDisconnected():
            reason = f"{address} has closed the connection without an answer"
        case HTTPException():
            reason = f"{address} is not a TensorFerry server: its answer is not HTTP"
        case UnicodeError():
            reason = f"cannot reach {address}: not a valid host name"
        case _:
            reason = f"cannot reach {address}: {getattr(error, 'strerror', None) or error}"
    return printable(reason)


def _parse_model(data: Any) -> Model:  # Any: a JSON value
    """Return the model that *data* describes; raises KeyError, TypeError or ValueError."""
    default = data["default_version"]
    return Model(
        name=_expect(str, data["name"]),
        default_version=None if default is None else _expect(str, default),
        weight=float(data["weight"]),
        problem=_expect(str, data["problem"]),
        notes=tuple(_expect(str, note) for note in _expect(list, data["notes"])),
        versions=tuple(_parse_version(version) for version in _expect(list, data["versions"])),
        data=data,
    )


def _parse_version(data: Any) -> ModelVersion:  # Any: a JSON value
    return ModelVersion(
        version=_expect(str, data["version"]),
        state=_expect(str, data["state"]),
        reason=_expect(str, data["reason"]),
        labels=tuple(_expect(str, label) for label in _expect(list, data["labels"])),
    )


def _expect(kind: type[T], value: object) -> T:
    if not isinstance(value, kind):
        raise TypeError(f"expected {kind.__name__}, got {type(value).__name__}")
    return value
