"""What TensorFlow's libraries write while they are loaded: quiet_stderr.py."""

import os
import signal
import subprocess
import sys
from contextlib import nullcontext, suppress
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec
from pathlib import Path

import pytest

from model.backends.tensorflow import quiet_stderr
from model.backends.tensorflow.quiet_stderr import no_warnings, obey_log_level, remove_noise
from server.process.log_writer import write_all
from server.process.logs import own_stderr

HEADING = "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\n"
INFO = "I0000 00:00:1795975004.083054    6814 cudart_stub.cc:31] Could not find cuda drivers\n"
WARNING = "W0000 00:00:1795975004.083054    6814 computation_placer.cc:177] registered already\n"
ERROR = "E0000 00:00:1795975004.083054    6814 cuda_dnn.cc:8310] Unable to register\n"
FATAL = "F0000 00:00:1795975004.083054    6814 cpu_feature_guard.cc:42] compiled to use AVX\n"
OURS = "2026-01-01 00:00:00 info     listening on http://127.0.0.1:12480\nI am no log line\n"
ALL = HEADING + INFO + WARNING + OURS + ERROR + FATAL


@pytest.mark.parametrize(
    ("level", "left"),
    [
        (0, ALL),
        (1, WARNING + OURS + ERROR + FATAL),
        (2, OURS + ERROR + FATAL),
        (3, OURS + FATAL),
    ],
)
def test_lines_below_the_level_are_left_out(level: int, left: str) -> None:
    """And no other line, whatever its text."""
    assert remove_noise(ALL.encode(), level) == left.encode()


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleSpec:
    """The spec of a library with a name of TensorFlow's, with the finder installed."""
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    (tmp_path / f"_pywrap_core{EXTENSION_SUFFIXES[0]}").write_bytes(b"no library")
    obey_log_level()
    obey_log_level()
    (spec,) = [
        found
        for finder in sys.meta_path
        if type(finder).__module__ == quiet_stderr.__name__
        and (found := finder.find_spec("tensorflow._pywrap_core", [str(tmp_path)]))
    ]
    return spec


def load(spec: ModuleSpec, monkeypatch: pytest.MonkeyPatch, *, fails: bool) -> None:
    """Load a library that writes to stderr while it is loaded."""

    def create(*_: object) -> None:
        os.write(2, ALL.encode())
        if fails:
            raise ImportError("undefined symbol")

    monkeypatch.setattr("importlib.machinery.ExtensionFileLoader.create_module", create)
    assert spec.loader is not None
    spec.loader.create_module(spec)


@pytest.mark.parametrize(
    ("level", "loads", "avx", "left"),
    [
        ("3", True, True, OURS + FATAL + "later\n"),
        ("1", True, True, WARNING + OURS + ERROR + FATAL + "later\n"),
        ("0", True, True, ALL + "later\n"),
        ("3", False, True, ALL),  # the reason may be in a line that is noise otherwise
        ("3", True, False, ALL + "later\n"),  # there TensorFlow ends the process
    ],
)
def test_a_library_that_loads_writes_no_noise(
    library: ModuleSpec,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    level: str,
    loads: bool,
    avx: bool,
    left: str,
) -> None:
    """The level of the environment decides, if it loads, and if the processor has AVX."""
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", level)
    if not avx:
        old = "model name\t: old\nflags\t\t: sse sse2\n"
        monkeypatch.setattr(Path, "read_text", lambda _: old)
    with nullcontext() if loads else pytest.raises(ImportError, match="undefined symbol"):
        load(library, monkeypatch, fails=not loads)
        os.write(2, b"later\n")
    assert capfd.readouterr().err == left


@pytest.mark.usefixtures("library")
def test_other_modules_are_found_as_before(tmp_path: Path) -> None:
    """The finder takes no library of another package, no Python module and no absent one."""
    (tmp_path / "text.py").touch()
    (finder,) = [each for each in sys.meta_path if type(each).__module__ == quiet_stderr.__name__]
    for name in ("numpy.core", "tensorflow.text", "tensorflow.absent", "tensorflow"):
        assert finder.find_spec(name, [str(tmp_path)]) is None


@pytest.mark.parametrize("level", ["0", "1", "2"])
def test_a_trial_run_that_fails_writes_no_warnings(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], level: str
) -> None:
    """Unless the level is 0; from level 2 on TensorFlow itself omits them."""
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", level)
    written = {"1": WARNING}.get(level, "") + OURS + ERROR
    with suppress(ValueError), no_warnings():
        os.write(2, written.encode())
        raise ValueError("refused")
    assert capfd.readouterr().err == OURS + ERROR


def test_a_crash_reports_where_it_happened(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """TensorFlow aborts where an internal check of an operation fails."""
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "1")
    crash = (
        f"from {quiet_stderr.__name__} import no_warnings\n"
        "import os\n"
        "def trial():\n"
        "    with no_warnings():\n"
        "        os.abort()\n"
        "trial()\n"
    )
    code = subprocess.run([sys.executable, "-c", crash], check=False).returncode
    assert code == -signal.SIGABRT
    written = capfd.readouterr().err
    assert written.startswith("Fatal Python error: Aborted")
    assert "in trial" in written


def test_the_log_is_not_captured(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Other threads serve, or stop, while a library is loaded or a row is tried."""
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "1")
    descriptor = own_stderr()
    with os.fdopen(descriptor, "wb"), no_warnings():
        write_all(descriptor, b"stopping\n")
        assert capfd.readouterr().err == "stopping\n"
