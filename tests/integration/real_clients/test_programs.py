"""The Python clients of other servers, each with the cases of its program."""

import ast
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.integration.real_clients.environments import (
    KSERVE,
    OVMS,
    TRITON,
    EnvironmentAt,
)
from tests.integration.repositories import TOKEN, Repository
from tests.integration.servers import run_program

pytestmark = pytest.mark.full

FOLDER = Path(__file__).parent / "programs"

PROGRAMS = {
    "triton_http": TRITON,
    "triton_aio": TRITON,
    "kserve_client": KSERVE,
    "ovms_client": OVMS,
}

#: The most seconds of a program.
SECONDS = 120

#: Runs a program once, and returns the tracebacks of its failed cases.
Failures = Callable[[str], Mapping[str, str]]


@pytest.fixture(scope="module")
def failures(
    served: Repository,
    environment_at: EnvironmentAt,
    cache_home: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Failures:
    """Return a function that runs a program, unless another test has run it."""
    found: dict[str, Mapping[str, str]] = {}

    def run(program: str) -> Mapping[str, str]:
        if program not in found:
            python = environment_at(PROGRAMS[program]) / "bin" / "python"
            command = [str(python), str(FOLDER / f"{program}.py"), str(served.server.port), TOKEN]
            folder = tmp_path_factory.mktemp(program)
            ran = run_program(command, cache_home=cache_home, folder=folder, seconds=SECONDS)
            assert ran.returncode == 0, ran.stdout + ran.stderr
            found[program] = json.loads(ran.stdout.splitlines()[-1])
        return found[program]

    return run


def cases(program: str) -> list[str]:
    """Return the names of the cases in *program*."""
    tree = ast.parse((FOLDER / f"{program}.py").read_text())
    functions = [it for it in tree.body if isinstance(it, ast.FunctionDef | ast.AsyncFunctionDef)]
    return [
        it.name for it in functions if [ast.unparse(each) for each in it.decorator_list] == ["case"]
    ]


@pytest.mark.parametrize(
    ("program", "case"), [(program, case) for program in PROGRAMS for case in cases(program)]
)
def test_an_unmodified_client_works(failures: Failures, program: str, case: str) -> None:
    """Its calls return what they should, and its errors have the texts that it shows."""
    traceback = failures(program).get(case)
    assert traceback is None, traceback
