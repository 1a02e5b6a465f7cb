"""
Model repositories for tests: versions whose answers show which model and version ran, and a server.

The answers of a version have the number `code_of` it.  Versions are copied to a temporary name and
renamed into place, as users do it.
"""

import json
import os
import shutil
import socket
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from time import monotonic
from typing import Any

import orjson

from model.repository.labels import LABELS_FILE
from model.repository.manifest import MANIFEST, digest_of
from model.repository.serving_toml import SERVING_TOML
from tests.integration.clients import Answer, get, read_answer
from tests.integration.graphs import Graphs
from tests.integration.saving import save_functions
from tests.integration.scalar_graphs import chain, contents, decoded, pooled, reshaped, resized
from tests.integration.servers import SERVE, Server, serving

#: Writes the files of one version, whose answers have the number, into a folder that it makes.
WriteVersion = Callable[[Path, int], object]

TOKEN = "tests"  # noqa: S105 - of the servers of the tests alone

#: Runs a program so that root, too, may write only what the modes of files permit.
WITHOUT_OVERRIDE = (
    ("setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override")
    if os.geteuid() == 0 and shutil.which("setpriv")
    else ()
)

_SIDE = 16  #: pixels of the square to which `write_jpeg_graph` resizes


def code_of(model: int, version: int) -> int:
    """Return the number in the answers of a version; it is exact in float32."""
    return 10_000 * model + 100 * version


# --- versions


def write_adder(folder: Path, code: int) -> None:
    """Write a SavedModel with two signatures: one adds *code* to x, the other one to its double."""
    import tensorflow as tf

    added = tf.Variable(float(code))
    rows = {"x": ("float32", (None, 2))}
    functions = {
        "serving_default": (lambda x: {"y": x + added}, rows),
        "doubled": (lambda x: {"y": 2 * x + added}, rows),
    }
    save_functions(folder, functions, added=added)


def write_slow(folder: Path, code: int) -> None:
    """Write a SavedModel that adds *code* to x, and runs for 10 to 20 milliseconds for each 1."""
    import tensorflow as tf

    matrix = tf.Variable(tf.eye(768))

    def call(x: Any) -> Mapping[str, Any]:
        times = tf.cast(x[0, 0], tf.int32)
        product = tf.while_loop(
            lambda n, _: n < times, lambda n, rows: (n + 1, rows @ matrix), (0, tf.eye(768))
        )[1]
        return {"y": x + float(code) * product[0, 0]}

    save_functions(
        folder, {"serving_default": (call, {"x": ("float32", (None, 1))})}, matrix=matrix
    )


def write_jpeg_graph(folder: Path, code: int) -> None:
    """Write a frozen graph that takes one JPEG; its scores are the mean, and the mean + *code*."""

    def scores(tf: Any, rows: Any) -> Any:
        means = tf.matmul(rows, tf.constant([[1 / 3, 1 / 3]] * 3))
        return tf.nn.bias_add(means, [0.0, float(code)])

    folder.mkdir()
    Graphs(folder).write(
        chain(contents, decoded, resized(_SIDE), pooled(_SIDE), reshaped(1, 3), scores)
    )
    (folder / LABELS_FILE).write_text("mean\nmean and code\n")


def write_keras(folder: Path, code: int) -> None:
    """Write a Keras file that adds *code* to the sum of x."""
    import tensorflow as tf

    bias = tf.keras.initializers.Constant(float(code))
    sums = tf.keras.layers.Dense(1, kernel_initializer="ones", bias_initializer=bias, name="y")
    folder.mkdir()
    with warnings.catch_warnings():  # as KERAS_WARNINGS does for the tests of a module
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
        tf.keras.Sequential([tf.keras.Input((3,), name="x"), sums]).save(folder / "model.keras")


def with_manifest(folder: Path) -> Path:
    """List the files in *folder* in its manifest, so that it is complete at once; return it."""
    files = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != MANIFEST:
            digest = digest_of(path.read_bytes())
            name = str(path.relative_to(folder))
            files[name] = {"size": digest.size, "sha256": digest.sha256}
    (folder / MANIFEST).write_text(json.dumps({"files": files}))
    return folder


def publish(files: Path, version: Path) -> None:
    """Copy the folder *files* beside the folder *version*, and rename it into place."""
    temporary = version.with_name(f"{version.name}.tmp")
    shutil.copytree(files, temporary)
    temporary.rename(version)


class Adders:
    """The files of versions of `write_adder`, each written once; the code has model number 0."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def files(self, version: int) -> Path:
        """Return a folder with the files of *version*, to be copied."""
        folder = self._folder / str(version)
        if not folder.exists():
            write_adder(folder, code_of(0, version))
        return folder


# --- requests


def rows_body(*rows: Sequence[float], signature: str | None = None) -> bytes:
    """Return a request with *rows* as the input x."""
    named = {} if signature is None else {"signature_name": signature}
    return orjson.dumps({"inputs": {"x": rows}, **named})


def outputs(answer: Answer) -> Any:
    """Return the rows of the output y."""
    assert answer.status == 200, f"{answer.status} {answer.body!r}"
    return orjson.loads(answer.body)["outputs"]["y"]


class _UnixConnection(HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=60)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


# --- the server


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository, and the server that serves it."""

    root: Path
    server: Server
    socket: Path
    adders: Adders

    def report(self, name: str) -> Any:
        """Return what `GET /models/NAME` answers."""
        return orjson.loads(get(self.server.port, f"/models/{name}").body)

    def version(self, name: str, version: int) -> Mapping[str, Any]:
        """Return what the server reports of *version*; without one, its state is "absent"."""
        found: Mapping[str, Any] = {"state": "absent", "reason": "", "labels": []}
        for each in self.report(name).get("versions", []):
            if each["version"] == str(version):
                found = each
        return found

    def wait_for_state(self, name: str, version: int, state: str) -> Mapping[str, Any]:
        """Return what the server reports of *version* when it is in *state*."""

        def report() -> Mapping[str, Any] | None:
            found = self.version(name, version)
            return found if found["state"] == state else None

        return self.server.wait_for(report, f"{name}/{version} that is {state}", 60)

    def add(self, name: str, *versions: int) -> None:
        """Add the model *name* with *versions* of `write_adder`; wait until the last one serves."""
        model = self.root / f"{name}.tmp"
        for version in versions:
            shutil.copytree(self.adders.files(version), model / str(version))
        (model / SERVING_TOML).write_text("max_batch_size = 8\n")  # for a short warm-up
        model.rename(self.root / name)
        self.wait_for_state(name, versions[-1], "serving")

    def change(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Ask for a change below /models/ over the socket of the administrator."""
        with closing(_UnixConnection(self.socket)) as connection:
            began = monotonic()
            connection.request(method, f"/models/{path}", body, dict(headers or {}))
            return read_answer(connection.getresponse(), began)

    def label(self, name: str, label: str, version: int | None) -> Answer:
        """Ask for *label* to be given to *version*."""
        return self.change("PUT", f"{name}/labels/{label}", orjson.dumps({"version": version}))


@contextmanager
def served_repository(folder: Path, cache_home: Path, *, token: bool) -> Iterator[Repository]:
    """Serve the repository `models` in *folder*, in which there is a complete version already."""
    socket_path = folder / "admin.sock"
    options = ["--models", str(folder / "models"), "--admin-listen", str(socket_path)]
    if token:
        (folder / "token").write_text(f"{TOKEN}\n")
        options += ["--admin-token-file", str(folder / "token")]
    with serving(
        *options, cache_home=cache_home, folder=folder, command=(*WITHOUT_OVERRIDE, *SERVE)
    ) as server:
        yield Repository(folder / "models", server, socket_path, Adders(folder / "adders"))
