"""docs/lifecycle.md: its session, its serving.toml, its golden request and its length."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from model.repository.serving_toml import SERVING_TOML, ServingFacts, read_serving_toml
from server.golden import GOLDEN, read_golden
from tests.integration.repositories import code_of, write_adder
from tests.integration.servers import ROOT, environment, serving, wait_for

DOCS = (ROOT / "docs" / "lifecycle.md").read_text()


def session() -> list[tuple[str, str]]:
    """Return the commands of the session, each with the output shown."""
    (block,) = re.findall(r"```console\n(.*?)```", DOCS, re.DOTALL)
    steps = [step.partition("\n") for step in block.split("$ ")[1:]]
    return [(command, without_ends(output)) for command, _, output in steps]


def without_ends(output: str) -> str:
    """Return *output* without blanks at the ends of lines, and without blank lines at the end."""
    return "\n".join(line.rstrip() for line in output.splitlines()).rstrip()


@pytest.mark.full
@pytest.mark.skipif(shutil.which("curl") is None, reason="the session has commands with curl")
def test_the_session_prints_what_the_page_shows(tmp_path: Path, cache_home: Path) -> None:
    """A command that shows the state is repeated until the state is the one on the page."""
    (serve, _), *steps = session()
    for version in (1, 2):
        write_adder(tmp_path / f"adder-{version}", code_of(0, version))
    shutil.copytree(tmp_path / "adder-1", tmp_path / "models" / "adder" / "1")
    words = serve.removeprefix("tensorferry serve ").removesuffix(" &").split()
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    with serving(*words, cache_home=cache_home, folder=tmp_path) as server:

        def output(command: str) -> str:
            here = command.replace("localhost:12480", f"127.0.0.1:{server.port}")
            ran = subprocess.run(
                ["sh", "-c", here], cwd=tmp_path, env=environment(cache_home, PATH=path),
                capture_output=True, timeout=60, check=True, text=True,
            )  # fmt: skip
            return without_ends(ran.stdout)

        for command, shown in steps:
            wait_for(lambda: output(command) == shown, f"output of {command} as shown", 60)  # noqa: B023 - called in this turn of the loop


def test_the_serving_toml_has_every_key(tmp_path: Path) -> None:
    """All keys that are read, and no others."""
    (block,) = re.findall(r"```toml\n(.*?)```", DOCS, re.DOTALL)
    (tmp_path / SERVING_TOML).write_text(block)
    facts = read_serving_toml(tmp_path / SERVING_TOML)
    assert facts == ServingFacts(
        latest=1, labels={"live": 1}, weight=1.0, max_batch_size=32, max_queue_delay=0.005
    )


def test_the_golden_request_can_be_read(tmp_path: Path) -> None:
    """A line of golden.jsonl, with the default tolerance."""
    (line,) = re.findall(r'`(\{"request".*)`$', DOCS, re.MULTILINE)
    (tmp_path / GOLDEN).write_text(line)
    (golden,) = read_golden(tmp_path)
    assert json.loads(golden.body) == {"inputs": {"x": [[1, 2]]}}
    assert golden.tolerance == 0.001


def test_the_page_is_short() -> None:
    """At most 145 lines."""
    assert len(DOCS.splitlines()) <= 145
