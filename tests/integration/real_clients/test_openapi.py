"""GET /openapi.json: requests made from the document, and answers compared with it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.clients import get
from tests.integration.real_clients.environments import SCHEMATHESIS, EnvironmentAt
from tests.integration.real_clients.served_models import MODELS
from tests.integration.repositories import Repository, served_repository, with_manifest
from tests.integration.servers import run_program

pytestmark = pytest.mark.full

FOLDER = Path(__file__).parent / "programs"

#: A model of numbers, and one of images.
SERVED = ("iris", "photos")

#: The most requests for each operation that are made at random.
MAX_EXAMPLES = 10

#: The most seconds of the run; about 50 on two cores.
SECONDS = 300


@pytest.fixture(scope="module")
def served(cache_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    """Serve the models; changes need the token."""
    folder = tmp_path_factory.mktemp("openapi")
    for name in SERVED:
        model = folder / "models" / name
        model.mkdir(parents=True)
        (model / "serving.toml").write_text("max_batch_size = 8\n")  # for a short warm-up
        MODELS[name](model / "1")
        with_manifest(model / "1")
    with served_repository(folder, cache_home, token=True) as repository:
        yield repository


def test_the_document_is_openapi(
    served: Repository, environment_at: EnvironmentAt, cache_home: Path, tmp_path: Path
) -> None:
    """A validator finds no error."""
    (tmp_path / "openapi.json").write_bytes(get(served.server.port, "/openapi.json").body)
    validator = environment_at(SCHEMATHESIS) / "bin" / "openapi-spec-validator"
    command = [str(validator), "--schema", "3.1", "openapi.json"]
    ran = run_program(command, cache_home=cache_home, folder=tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_server_does_what_the_document_states(
    served: Repository, environment_at: EnvironmentAt, cache_home: Path, tmp_path: Path
) -> None:
    """
    Statuses, types, schemas and headers, for good and for wrong requests; there is no fault.

    The requests have no token: changes are refused, and the models stay those of the document.
    """
    command = [
        str(environment_at(SCHEMATHESIS) / "bin" / "schemathesis"),
        f"--config-file={FOLDER / 'openapi.toml'}",
        "run",
        f"http://127.0.0.1:{served.server.port}/openapi.json",
        "--phases=examples,coverage,fuzzing",
        f"--max-examples={MAX_EXAMPLES}",
        "--seed=1",
        "--continue-on-failure",
        "--suppress-health-check=all",
        "--warnings=off",
        "--no-color",
    ]
    ran = run_program(
        command,
        cache_home=cache_home,
        folder=tmp_path,
        variables={"SCHEMATHESIS_HOOKS": "openapi_checks", "PYTHONPATH": str(FOLDER)},
        seconds=SECONDS,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "Traceback" not in served.server.log
    assert {served.version(name, 1)["state"] for name in SERVED} == {"serving"}
