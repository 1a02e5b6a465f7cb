"""The two commands of the README, from a clean clone."""

import subprocess
from pathlib import Path

import pytest

from tests.integration.clients import post
from tests.integration.photos import jpeg
from tests.integration.servers import ROOT, serving

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(not (ROOT / ".git").exists(), reason="this is no clone"),
]

#: The most seconds that a first start takes: it installs TensorFlow.
FIRST_START_SECONDS = 1200.0


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean clone of what has been committed."""
    folder = tmp_path_factory.mktemp("somewhere") / "a clone"
    command = ["git", "clone", "--quiet", str(ROOT), str(folder)]
    subprocess.run(command, check=True, timeout=60)
    return folder


def test_a_clone_serves_at_its_first_command_and_soon_at_its_second(
    clone: Path, tmp_path: Path
) -> None:
    """From any working folder, on a machine with nothing but Python; the model is converted."""
    alone = {"PYTHONPATH": ""}
    with serving(
        cache_home=tmp_path, folder=tmp_path, command=(str(clone / "scripts" / "serve"),),
        variables=alone, patience=FIRST_START_SECONDS,
    ) as server:  # fmt: skip
        assert post(server.port, jpeg("coffee.png")).best == "espresso"
        assert "setting up " in server.log
        server.signal()
        assert server.exit_code() == 0
    with serving(
        cache_home=tmp_path, folder=clone / "scripts", command=("./serve",), variables=alone
    ) as server:
        assert post(server.port, jpeg("coffee.png")).best == "espresso"
        assert "setting up " not in server.log
        assert "converting" not in server.log
