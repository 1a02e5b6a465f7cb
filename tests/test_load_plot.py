"""The plots of loads: scripts/load/plot.py."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from scripts.load.exchange import Exchange
from scripts.load.plot import plot_load, plot_search
from scripts.load.search import Point
from scripts.load.summary import summarise
from tests.fakes.load import CLIENT, exchange, figures, recorded

TIMING = b'batch;desc="4/8 full"'


def drawn(path: Path) -> tuple[int, int]:
    """Return the size of the PNG file at *path*."""
    with Image.open(path) as image:
        image.load()
        assert image.format == "PNG"
        return image.size


#: Nothing can be written: neither a home folder nor one for temporary files.
NO_PLACE = """
import os, pwd, tempfile

def refuse(*_, **__):
    raise FileNotFoundError(2, "No usable temporary directory found")

def unknown(uid):
    raise KeyError(uid)

tempfile.mkdtemp = tempfile.gettempdir = refuse
pwd.getpwuid = unknown
os.environ.pop("HOME", None)
from scripts.load.plot import has_config_folder
print(has_config_folder())
"""


@pytest.mark.parametrize("place", ["", "MPLCONFIGDIR"])
def test_matplotlib_wants_a_folder_that_can_be_written(tmp_path: Path, place: str) -> None:
    """MPLCONFIGDIR names it if there is neither a home folder nor a temporary one."""
    given = {"MPLCONFIGDIR": "", "XDG_CONFIG_HOME": "", "XDG_CACHE_HOME": ""}
    given |= {place: str(tmp_path)} if place else {}
    done = subprocess.run(
        [sys.executable, "-c", NO_PLACE],
        env=os.environ | given,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == [str(bool(place))], done.stderr


@pytest.mark.parametrize(
    "exchanges",
    [
        [],
        [exchange(), exchange(status=0, detail="broke"), exchange(status=503)],
        [*(exchange(0.01 + n % 7 / 100, due=n / 50, timing=TIMING) for n in range(500))],
    ],
    ids=["empty", "one answer", "many"],
)  # fmt: skip
def test_a_load_is_drawn(tmp_path: Path, exchanges: Sequence[Exchange]) -> None:
    """Whatever its outcome, and whatever the name of the file."""
    record = recorded(*exchanges)
    plot_load(tmp_path / "plot.txt", "title", record, summarise(record, CLIENT))
    width, height = drawn(tmp_path / "plot.txt")
    assert width > height > 100


def test_a_search_is_drawn(tmp_path: Path) -> None:
    """Also where nothing was answered."""
    measured = (figures(p50_ms=rate, p99_ms=2.0 * rate) for rate in (1, 2, 3))
    points = [Point(float(rate), each) for rate, each in enumerate((figures(), *measured))]
    for part in (points[:1], points[1:]):
        plot_search(tmp_path / "curve", "title", part, slo=0.2)
        width, height = drawn(tmp_path / "curve")
        assert width > height > 100
