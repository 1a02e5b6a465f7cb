"""docs/protocols.md: its sessions, its links and its length."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.real_clients.environments import OVMS, EnvironmentAt
from tests.integration.repositories import Adders
from tests.integration.servers import ROOT, environment, free_port, readiness, started, wait_for

DOCS = (ROOT / "docs" / "protocols.md").read_text()

#: The ports in the sessions.
PORTS = re.compile(r"\b(8000|8501)\b")


def sessions() -> dict[str, list[tuple[str, str]]]:
    """Return the commands of each session, with the output shown, by the title of its section."""
    found = {}
    for section in DOCS.split("\n## Moving from ")[1:]:
        (block,) = re.findall(r"```console\n(.*?)```", section, re.DOTALL)
        steps = [step.partition("\n") for step in block.split("$ ")[1:]]
        title = section.partition("\n")[0]
        found[title] = [(command, output.rstrip()) for command, _, output in steps]
    return found


def write_files(folder: Path, steps: list[tuple[str, str]]) -> None:
    """Write two versions of a model, as each of the servers has them, and the files shown."""
    adders = Adders(folder / "adders")
    for version in (1, 2):
        shutil.copytree(adders.files(version), folder / "adder" / str(version))
        triton = folder / "models" / "adder" / str(version) / "model.savedmodel"
        shutil.copytree(adders.files(version), triton)
    for command, output in steps:
        if command.startswith("cat "):
            (folder / command.removeprefix("cat ")).write_text(output)


@pytest.mark.full
@pytest.mark.skipif(shutil.which("curl") is None, reason="the sessions have commands with curl")
@pytest.mark.parametrize("title", sessions())
def test_a_session_prints_what_the_page_shows(
    title: str, environment_at: EnvironmentAt, cache_home: Path, tmp_path: Path
) -> None:
    """A command is repeated until its output is that of the page: versions are loaded in turn."""
    steps = sessions()[title]
    write_files(tmp_path, steps)
    (serve,) = [command for command, _ in steps if command.startswith("tensorferry ")]
    programs = [Path(sys.executable).parent]
    if any(command.startswith("python ") for command, _ in steps):
        programs.insert(0, environment_at(OVMS) / "bin")
    path = ":".join([*map(str, programs), "/usr/bin", "/bin"])
    port = free_port()

    def here(command: str) -> str:
        return PORTS.sub(str(port), command).replace("localhost", "127.0.0.1")

    words = here(serve).removeprefix("tensorferry serve ").removesuffix(" &").split()
    with started(*words, cache_home=cache_home, folder=tmp_path) as server:
        server.wait_for(lambda: readiness(port) == 200, "readiness")

        def output(command: str) -> str:
            ran = subprocess.run(
                ["sh", "-c", here(command)], cwd=tmp_path, env=environment(cache_home, PATH=path),
                capture_output=True, timeout=60, check=True, text=True,
            )  # fmt: skip
            return ran.stdout.rstrip()

        for command, shown in steps:
            if command != serve:
                wait_for(lambda: output(command) == shown, f"output of {command} as shown", 60)  # noqa: B023 - called in this turn of the loop


def test_there_is_a_session_for_each_server() -> None:
    """Each serves with our command."""
    assert len(sessions()) == 3
    for steps in sessions().values():
        assert [command for command, _ in steps if command.startswith("tensorferry serve ")]


def test_the_links_of_the_page_exist() -> None:
    """Each leads to a file of the project."""
    for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", DOCS):
        assert (ROOT / "docs" / link).is_file(), link


def test_the_page_is_short() -> None:
    """At most 160 lines."""
    assert len(DOCS.splitlines()) <= 160
