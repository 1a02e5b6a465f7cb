"""Signals that arrive while the command is imported: tensorferry/early_signals.py."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

#: A command whose imports take a long time.
BEGIN = "from tensorferry.early_signals import end_on_signals; end_on_signals(); "
IMPORTS = BEGIN + "print('begun', flush=True); import time; time.sleep(60)"


def python(program: str, *before: str) -> "subprocess.Popen[str]":
    """Start *program* in Python, with the command *before* in front."""
    return subprocess.Popen(
        [*before, sys.executable, "-c", program],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def can_be_process_one() -> bool:
    """Return whether this machine allows a new PID namespace."""
    try:
        command = ["unshare", "--pid", "--fork", "true"]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


@pytest.mark.skipif(not can_be_process_one(), reason="this machine allows no new PID namespace")
def test_process_one_ends_at_a_sigterm_during_its_imports() -> None:
    """The kernel applies no default action to it: without a handler the signal would be lost."""
    with python(IMPORTS, "unshare", "--pid", "--fork", "--kill-child") as outer:
        assert outer.stdout is not None
        assert outer.stdout.readline() == "begun\n"
        children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text()
        os.kill(int(children), signal.SIGTERM)
        assert outer.wait(10) == 128 + signal.SIGTERM


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 128 + signal.SIGINT)]
)
def test_any_other_process_ends_without_output(number: signal.Signals, code: int) -> None:
    """Without the traceback of an import."""
    with python(IMPORTS) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        process.send_signal(number)
        assert process.wait(10) == code
        assert process.communicate() == ("", "")


def test_commands_get_keyboard_interrupts() -> None:
    """And the reactor, which replaces only Python's own handler of SIGINT."""
    program = (
        "import signal; "
        f"{BEGIN}"
        "from scripts.cli import main; main(['models', '--help'], standalone_mode=False); "
        "print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    )
    with python(program) as process:
        out, err = process.communicate(timeout=60)
    assert (out.splitlines()[-1], err) == ("True", "")


def test_an_ignored_signal_stays_ignored() -> None:
    """As under nohup, or for a background job of a shell."""
    program = (
        "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); "
        f"{BEGIN}"
        "print(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)"
    )
    with python(program) as process:
        assert process.communicate(timeout=60)[0] == "True\n"


def test_nothing_heavy_is_imported_first() -> None:
    """The handlers are installed before the long imports."""
    program = f"import sys; before = set(sys.modules); {BEGIN}print(*(set(sys.modules) - before))"
    with python(program) as process:
        modules = process.communicate(timeout=60)[0].split()
    assert {name.partition(".")[0] for name in modules} <= {"tensorferry", *sys.stdlib_module_names}
