"""deploy/kserve-serving-runtime.yaml: KServe's own models take it, and its command serves."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.clients import get, post
from tests.integration.real_clients.environments import KSERVE, EnvironmentAt
from tests.integration.repositories import Adders
from tests.integration.servers import ROOT, free_port, readiness, run_program, started

pytestmark = pytest.mark.full

RUNTIME = ROOT / "deploy" / "kserve-serving-runtime.yaml"

PROGRAM = Path(__file__).parent / "programs" / "kserve_runtimes.py"


#: Runs the check of a text, and returns its output and its errors.
Check = Callable[[str], tuple[str, str]]


@pytest.fixture
def check(environment_at: EnvironmentAt, cache_home: Path, tmp_path: Path) -> Check:
    """Return a function that checks a YAML text against KServe's models."""
    python = environment_at(KSERVE) / "bin" / "python"

    def run(text: str) -> tuple[str, str]:
        (tmp_path / "runtime.yaml").write_text(text)
        command = [str(python), str(PROGRAM), "runtime.yaml"]
        ran = run_program(command, cache_home=cache_home, folder=tmp_path)
        return ran.stdout, ran.stderr

    return run


@pytest.mark.parametrize("kind", ["ServingRuntime", "ClusterServingRuntime"])
def test_the_runtime_has_the_schema_of_kserve(check: Check, kind: str) -> None:
    """Each field is known, and of its type, down to the probes of the container."""
    text = RUNTIME.read_text().replace("\nkind: ServingRuntime", f"\nkind: {kind}")
    output, errors = check(text)
    assert output, errors
    content = json.loads(output)
    assert content["kind"] == kind
    assert content["spec"]["protocolVersions"] == ["v1", "v2"]


@pytest.mark.parametrize(
    ("right", "wrong", "error"),
    [
        ("containerPort:", "containerport:", "unknown ['containerport']"),
        ("periodSeconds: 10", "periodSeconds: often", "expected int, got 'often'"),
        ("    - name: kserve-container", "    - title: a", "unknown ['title']"),
    ],
)
def test_the_check_finds_a_mistake(check: Check, right: str, wrong: str, error: str) -> None:
    """An unknown field or a value of another type."""
    output, errors = check(RUNTIME.read_text().replace(right, wrong))
    assert error in errors
    assert output == ""


def test_the_command_of_the_container_serves(
    check: Check, cache_home: Path, tmp_path: Path
) -> None:
    """With the model mounted where KServe mounts it; the probes are answered on its port."""
    shutil.copytree(Adders(tmp_path / "adders").files(1), tmp_path / "models" / "1")
    output, errors = check(RUNTIME.read_text())
    assert output, errors
    (container,) = json.loads(output)["spec"]["containers"]
    assert container["command"] == ["tensorferry", "serve"]
    port = free_port()
    replaced = {"{{.Name}}": "adder", "/mnt/models": str(tmp_path / "models"), "8080": str(port)}
    pattern = re.compile("|".join(map(re.escape, replaced)))
    words = [pattern.sub(lambda found: replaced[found[0]], word) for word in container["args"]]
    (declared,) = container["ports"]
    assert declared["containerPort"] == 8080
    with started(*words, cache_home=cache_home, folder=tmp_path) as server:
        server.wait_for(lambda: readiness(port) == 200, "readiness")
        for probe in ("livenessProbe", "readinessProbe"):
            request = container[probe]["httpGet"]
            assert request["port"] == 8080
            assert get(port, request["path"]).status == 200
        answer = post(port, b'{"instances": [[1, 2]]}', path="/v1/models/adder:predict")
        assert answer.body == b'{"predictions":[[101.0,102.0]]}\n'
