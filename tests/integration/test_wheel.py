"""The content of the wheel, and a server that runs from it alone."""

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from signal import SIGTERM
from zipfile import ZipFile

import pytest

from tensorferry import __version__
from tests.integration.clients import post
from tests.integration.photos import jpeg
from tests.integration.servers import ROOT, TWISTD, run_program, serving

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the source distribution, as packagers build it."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, timeout=600, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a virtualenv with the wheel, and the dependencies of this environment."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, symlinks=True)
    interpreter = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(interpreter), "install"]
    subprocess.run(
        [*pip, "--no-deps", "--no-index", str(wheel)], check=True, timeout=120, capture_output=True
    )
    (packages,) = folder.glob("lib/python3*/site-packages")
    # Its own .pth files are not followed: an editable install of the project stays out.
    (packages / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return interpreter


def test_the_wheel_holds_the_packages_and_no_more(wheel: Path) -> None:
    """No tests, benchmarks and shell scripts; of the folder twisted the plugin alone."""
    with ZipFile(wheel) as archive:
        names = set(archive.namelist())
    info = f"tensorferry-{__version__}.dist-info"
    assert {name.partition("/")[0] for name in names} == {
        "batcher", "model", "scripts", "server", "tensorferry", "twisted", info,
    }  # fmt: skip
    assert {name for name in names if name.startswith("twisted/")} == {
        "twisted/plugins/tensorferry_plugin.py"
    }
    sources = {
        str(path.relative_to(ROOT))
        for package in ("batcher", "model", "scripts", "server", "tensorferry")
        for path in (ROOT / package).rglob("*.py")
    }
    packed = {name for name in names if not name.startswith(("twisted/", info))}
    assert packed == sources | {"tensorferry/py.typed"}
    assert not [name for name in names if "benchmarks" in name]
    assert {f"{info}/licenses/LICENSE", f"{info}/licenses/NOTICE"} <= names


def test_twistd_lists_the_plugin_of_an_installed_wheel(
    python: Path, cache_home: Path, tmp_path: Path
) -> None:
    """With its one line of description, from outside the project's folder."""
    nowhere = {"PYTHONPATH": ""}
    where = [str(python), "-c", "import server; print(server.__file__)"]
    found = run_program(where, cache_home=cache_home, folder=tmp_path, variables=nowhere)
    assert found.stdout.startswith(str(python.parents[1]))
    command = [str(python), "-P", *TWISTD, "--help"]
    listed = run_program(command, cache_home=cache_home, folder=tmp_path, variables=nowhere)
    assert listed.returncode == 0
    (line,) = [line for line in listed.stdout.splitlines() if line.split()[:1] == ["tensorferry"]]
    assert line.split(maxsplit=1)[1] == "A micro-batching inference server"


def test_an_installed_wheel_serves(python: Path, cache_home: Path, tmp_path: Path) -> None:
    """With twistd, which its signal ends after a drain; its own command has the same settings."""
    nowhere = {"PYTHONPATH": ""}
    command = [str(python.with_name("tensorferry")), "serve", "--check-config"]
    checked = run_program(command, cache_home=cache_home, folder=tmp_path, variables=nowhere)
    assert (checked.returncode, checked.stderr) == (0, "")
    with serving(
        cache_home=cache_home, folder=tmp_path, variables=nowhere,
        command=(str(python), "-P", *TWISTD, "-n", "tensorferry"),
    ) as server:  # fmt: skip
        assert post(server.port, jpeg("coffee.png")).best == "espresso"
        server.signal()
        assert server.exit_code() == -SIGTERM
