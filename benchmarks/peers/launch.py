"""
Read peers.toml, start the servers in it, and check the answers of each.

A server is ready when it has answered one request correctly.
"""

import json
import os
import re
import shlex
import subprocess
import sys
import time
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from benchmarks.kept import ROOT
from benchmarks.peers.bodies import BODIES
from benchmarks.peers.processes import ProcessTree, prefer
from benchmarks.served import peers_work

HERE = Path(__file__).parent
WORK = peers_work()
DATA = WORK / "data"
PORT = int(os.environ.get("PEERS_PORT", "8100"))

#: The weight of the benchmark's own processes, for example -10 where other programs run.
NICE = int(os.environ.get("PEERS_NICE", "0"))

#: The file of each kind of payload.
PAYLOADS = {"null": "small.bin", "jpeg": "photo.jpg", "tensor": "tensor.bin", "row": "row.json"}

#: The kind of payload of each model that shows that the server is ready.
FIRST_PAYLOADS = {"null": "null", "net": "jpeg", "table": "row"}

#: The most by which a score of a row may differ from the right one: servers round differently.
TOLERANCE = 1e-5

#: Seconds until a server must answer, and then until it must answer a tensor.
STARTING, TENSOR = 120.0, 30.0


class PeerError(Exception):
    """A server ended early, answered wrongly or not at all, or is not in peers.toml."""


class RequestFiles(NamedTuple):
    """The files with the headers and the body of a request, which the load generators read."""

    headers: Path  #: a line `Name: value` for each header
    body: Path


def venv_python(name: str) -> Path:
    """Return the Python interpreter of the virtualenv *name*."""
    return WORK / "venvs" / name / "bin" / "python"


@dataclass(frozen=True, slots=True)
class Running:
    """A server that is started and ready."""

    tree: ProcessTree
    cold_start: float  #: seconds from its start to the first correct answer


@dataclass(frozen=True, slots=True)
class Peer:
    """A server of peers.toml."""

    name: str
    spec: Mapping[str, Any]

    def serves(self, model: str) -> bool:
        """Return whether the server can serve *model*, a key of `FIRST_PAYLOADS`."""
        return model in self.spec.get("models", ("null", "net"))

    @property
    def cloned(self) -> bool:
        """Whether the server runs from this clone, with the interpreter that runs this program."""
        return bool(self.spec.get("clone"))

    @property
    def python(self) -> Path:
        """The Python interpreter that runs the server."""
        return Path(sys.executable) if self.cloned else venv_python(self.name)

    @property
    def requirements(self) -> Path:
        """The requirements file of the server's virtualenv."""
        return HERE / "requirements" / f"{self.name}.txt"

    def version(self) -> str:
        """Return the version of the server's package, `clone` for this clone, or `unknown`."""
        if self.cloned or "package" not in self.spec:
            return "clone" if self.cloned else "unknown"
        code = "import sys; from importlib.metadata import version; print(version(sys.argv[1]))"
        done = subprocess.run(  # noqa: S603 - an interpreter of ours
            [self.python, "-c", code, self.spec["package"]],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        return done.stdout.strip() or "unknown"

    def settings(self) -> dict[str, Any]:
        """Return the entries of the server in peers.toml whose names begin with env or start."""
        return {key: value for key, value in self.spec.items() if key.startswith(("env", "start"))}

    def url(self, payload: str) -> str:
        """Return the URL for requests with *payload*, a key of `PAYLOADS`."""
        path = self.spec.get(f"path_{payload}", self.spec.get("path", "/"))
        return f"http://127.0.0.1:{PORT}{path}"

    def request_files(self, payload: str) -> RequestFiles:
        """
        Write the headers and the body of a request with *payload*; return the paths of the files.
        """
        make = BODIES[self.spec.get(f"body_{payload}", self.spec.get("body", "raw"))]
        headers, body = make((DATA / PAYLOADS[payload]).read_bytes(), payload)
        base = WORK / "requests" / f"{self.name}-{payload}"
        base.parent.mkdir(parents=True, exist_ok=True)
        files = RequestFiles(base.with_suffix(".headers"), base.with_suffix(".body"))
        files.headers.write_text("".join(f"{key}: {value}\n" for key, value in headers.items()))
        files.body.write_bytes(body)
        return files

    def start(
        self, model: str, extra: Mapping[str, str] | None = None, *, shed: bool = False
    ) -> Running:
        """
        Start the server with *model*, a key of `FIRST_PAYLOADS`, and wait until it answers.

        Raises `PeerError`.

        *extra* has further environment variables; *shed* switches on the server's own load
        shedding.
        """
        temporary = WORK / "tmp" / self.name
        temporary.mkdir(parents=True, exist_ok=True)
        cores = str(os.cpu_count())
        env = {
            "PEER_PORT": str(PORT), "PEER_MODEL": model, "PEER_GRAPH": str(DATA / "graph.pb"),
            "PEER_TABLE": str(DATA / "table.keras"), "PEER_TMP": str(temporary),
            "PEER_INTRA": cores, "PEER_INTER": cores,
            "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "",
            "PATH": f"{self.python.parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT if self.cloned else HERE / "servers"),
            **self.spec.get("env", {}), **self.spec.get(f"env_{model}", {}),
            **(self.spec.get("env_shed", {}) if shed else {}), **(extra or {}),
        }  # fmt: skip
        log = WORK / "logs" / f"{self.name}-{model}.log"
        log.parent.mkdir(exist_ok=True)
        tree = ProcessTree(self._command(model, shed=shed), env, log, HERE)
        try:
            self._check(tree, FIRST_PAYLOADS[model], STARTING)
            cold_start = time.monotonic() - tree.started
            time.sleep(self.spec.get("settle", 0))
            if NICE:
                for pid in tree.pids():
                    prefer(pid, NICE)
            if model == "net" and self.spec.get("tensor", True):
                self._check(tree, "tensor", TENSOR)
        except BaseException:
            tree.stop()
            raise
        return Running(tree, cold_start)

    def _command(self, model: str, *, shed: bool) -> list[str]:
        start = self.spec.get("start_shed", self.spec["start"]) if shed else self.spec["start"]
        values = {
            "python": self.python, "port": PORT, "model": model, "work": WORK,
            "graph": DATA / "graph.pb",
        }  # fmt: skip
        return [part.format(**values) for part in shlex.split(start)]

    def _check(self, tree: ProcessTree, payload: str, seconds: float) -> None:
        """
        Send *payload* repeatedly until the status is 200, for at most *seconds*; check the answer.

        *tree* has the server's processes.  Raises `PeerError` if the answer is wrong or missing, or
        the server has ended.
        """
        until = time.monotonic() + seconds
        text = "no answer"
        while time.monotonic() < until:
            if tree.process.poll() is not None:
                raise PeerError(f"{self.name} ended early: see the logs in the work folder")
            status, text = self._ask(payload)
            if status == 200 or (status == 404 and self.spec.get("newer")):
                break
            time.sleep(0.05)
        if not is_correct(payload, text):
            raise PeerError(f"{self.name}: wrong answer to {payload}: {text[:300]}")

    def _ask(self, payload: str) -> tuple[int, str]:
        """
        Send one request with *payload*, and return the status and the text of the answer.

        The text has no spaces and backslashes.  Without an answer, return 0 and the text of the
        error.
        """
        files = self.request_files(payload)
        headers = dict(line.split(": ", 1) for line in files.headers.read_text().splitlines())
        url = urlsplit(self.url(payload))
        connection = HTTPConnection(str(url.hostname), url.port, timeout=30)
        try:
            connection.request("POST", url.path, files.body.read_bytes(), headers)
            response = connection.getresponse()
            text = response.read().decode(errors="replace").replace("\\", "").replace(" ", "")
        except (OSError, HTTPException) as error:
            return 0, str(error)
        else:
            return response.status, text
        finally:
            connection.close()


def is_correct(payload: str, text: str) -> bool:
    """Return whether *text*, an answer without spaces, is one to *payload*."""
    if payload == "null":
        return '"n":1024' in text
    if payload == "row":
        return has_scores(text, json.loads((DATA / "row_answer.json").read_text()))
    classes = re.search(r"\[[^]]*\]", (DATA / "answer.json").read_text())
    return f'"classes":{classes[0] if classes else ""}' in text


def has_scores(text: str, scores: Sequence[float]) -> bool:
    """Return whether *text* has a list of *scores*, each to `TOLERANCE`."""
    for found in re.findall(r"\[([^][]+)\]", text):
        try:
            numbers = [float(number) for number in found.split(",")]
        except ValueError:
            continue
        if len(numbers) == len(scores) and all(
            abs(number - score) <= TOLERANCE for number, score in zip(numbers, scores, strict=True)
        ):
            return True
    return False


#: The ceiling of the null model: a web server with a fixed answer.
NGINX = Peer("nginx", {"start": "{work}/nginx/usr/sbin/nginx -p {work}/tmp/nginx -c nginx.conf"})


def read_peers(names: str = "") -> list[Peer]:
    """
    Return the servers of peers.toml that *names*, separated by commas, lists; raises `PeerError`.

    Without names, return all servers except those marked as optional.
    """
    known = tomllib.loads((HERE / "peers.toml").read_text(encoding="utf-8"))
    default = [name for name, spec in known.items() if not spec.get("optional")]
    chosen = names.split(",") if names else default
    if unknown := [name for name in chosen if name not in known]:
        raise PeerError(f"no server {', '.join(unknown)} in peers.toml: it has {', '.join(known)}")
    return [Peer(name, known[name]) for name in chosen]
