"""What `tensorferry doctor` finds, and how it reports it: server/doctor/, scripts/doctor.py."""

import errno
import json
import os
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from scripts.doctor import doctor
from server.doctor.addresses import AddressFacts, check_listening
from server.doctor.examination import CHECKS, Subject, checks_markdown, examine, explain
from server.doctor.finding import Finding, Level
from server.settings.table import Settings
from tests.broken_machines import BROKEN, COMMUNICATION, Broken
from tests.fakes.machine import FakeMachine


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeMachine:
    """A machine without a problem."""
    return FakeMachine(tmp_path, monkeypatch)


def findings(fake: FakeMachine, *, quick: bool = False) -> list[Finding]:
    """Return what all checks find on the machine."""
    return list(examine(Subject(fake.machine, fake.settings, fake.error, quick=quick)))


def test_a_healthy_machine_has_one_ok_for_each_check(fake: FakeMachine) -> None:
    """And no remedy; it listens on a free port."""
    found = findings(fake)
    assert [it for it in found if it.level is not Level.OK or it.remedy] == []
    assert [it.check for it in found] == [it.name for it in CHECKS]


@pytest.mark.parametrize("case", BROKEN.values(), ids=BROKEN)
def test_what_is_broken_is_found_and_nothing_else(fake: FakeMachine, case: Broken) -> None:
    """With its level and a remedy of one line."""
    case.change(fake)
    (it,) = [it for it in findings(fake) if it.level is not Level.OK]
    assert (it.check, it.level) == (case.check, case.level)
    assert re.search(case.found, it.found), it.found
    assert re.search(case.remedy, it.remedy), it.remedy
    assert "\n" not in it.found + it.remedy


@pytest.mark.parametrize(
    ("record", "file"),
    [("__editable__.klein.pth,,\n", "__init__.py"), ("klein/__init__.py,,\n", "plugin.py")],
    ids=["editable", "namespace"],
)
def test_a_package_of_another_folder_may_be_the_installed_one(
    fake: FakeMachine, record: str, file: str
) -> None:
    """An editable installation, and a folder without an __init__.py, which comes last."""
    other = fake.shadow("klein", "24.8.0")
    other.rename(other.with_name(file))
    fake.package("klein", "24.8.0", RECORD=record)
    assert {it.level for it in findings(fake)} == {Level.OK}


def test_a_program_that_does_not_end_is_ended(
    fake: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """nvidia-smi with a blocked driver, and an import that waits."""
    monkeypatch.setattr("server.doctor.nvidia.MAX_SMI_SECONDS", 0.02)
    monkeypatch.setattr("server.doctor.tensorflow_import.MAX_IMPORT_SECONDS", 0.02)
    fake.nvidia_smi("exec sleep 60")
    fake.program("sleep", "exec /bin/sleep 60")
    fake.program("python", "exec sleep 60")
    found = {it.check: it.found for it in findings(fake) if it.level is Level.FAULT}
    assert found == {
        "driver": "nvidia-smi does not end within 0.02 s",
        "import": "the import has not ended after 0.02 s",
    }


@pytest.mark.parametrize(
    ("user", "found", "remedy"),
    [
        (None, "is not writable: the default model", "^chmod u[+]rwx "),
        (12345, "belongs to .*, and user 12345 may not write there", "^sudo chown -R 12345 "),
    ],
)
def test_a_cache_folder_that_the_user_may_not_write(
    fake: FakeMachine, monkeypatch: pytest.MonkeyPatch, user: int | None, found: str, remedy: str
) -> None:
    """It is the user's own, or it was made by another user."""
    (fake.cache / "latency").mkdir(parents=True)
    monkeypatch.setattr(os, "access", lambda path, *_, **__: Path(path).name != "latency")
    if user is not None:
        monkeypatch.setattr(os, "geteuid", lambda: user)
    (it,) = [it for it in findings(fake) if it.level is not Level.OK]
    assert (it.check, it.level) == ("cache", Level.FAULT)
    assert re.search(found, it.found), it.found
    assert re.search(remedy, it.remedy), it.remedy


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (PermissionError(errno.EACCES, "refused"), "AmbientCapabilities=CAP_NET_BIND_SERVICE"),
        (OSError(errno.EADDRINUSE, "in use"), "^sudo ss -tlnp lists the processes; .* --port$"),
    ],
)
def test_an_address_that_cannot_be_bound_has_a_remedy(error: OSError, remedy: str) -> None:
    """For a low port a permission; for a port of another user's process, which cannot be found."""
    it = check_listening(AddressFacts("tcp:80", error), "--port")
    assert (it.level, it.found) == (Level.FAULT, f"tcp:80: {error.strerror}")
    assert re.search(remedy, it.remedy), it.remedy


def test_a_check_of_an_unknown_machine_does_not_prevent_the_others(fake: FakeMachine) -> None:
    """What it raises is a hint."""
    fake.descriptors = (1,)  # type: ignore[assignment]  # no limits of any kernel
    hints = [it for it in findings(fake) if it.level is not Level.OK]
    assert [(it.check, it.level) for it in hints] == [("descriptors", Level.HINT)]
    assert hints[0].found.startswith("could not be examined: TypeError")


def test_a_device_of_the_settings_makes_the_gpu_superfluous(fake: FakeMachine) -> None:
    """A broken driver is no fault with --device cpu."""
    fake.nvidia_smi(COMMUNICATION)
    fake.settings = Settings(port=0, device="cpu")
    assert {it.level for it in findings(fake)} == {Level.OK}


def test_a_gpu_that_tensorflow_sees_is_ok(fake: FakeMachine) -> None:
    """With any driver that is new enough, and whatever packages of libraries there are."""
    fake.gpu("525.60.13")
    fake.program("python", """echo '{"version": "2.21.0", "gpus": ["GPU:0"], "cuda": true}'""")
    found = {it.check: it for it in findings(fake)}
    assert {it.level for it in found.values()} == {Level.OK}
    assert found["driver"].found == "525.60.13: NVIDIA H100 80GB HBM3"
    assert found["gpu"].found == "TensorFlow sees 1"


def test_libraries_are_loaded_where_tensorflow_sees_no_gpu(fake: FakeMachine) -> None:
    """In the child, after the import; here one is a text."""
    fake.gpu("550.54.14")
    fake.import_with_python(
        "from types import SimpleNamespace as Names\n"
        "__version__ = '2.21.0'\n"
        "config = Names(list_physical_devices=lambda kind: [])\n"
        "test = Names(is_built_with_cuda=lambda: True)\n"
    )
    library = fake.packages / "nvidia" / "cudnn" / "lib" / "libcudnn.so.9"
    library.parent.mkdir(parents=True)
    library.write_text("no library")
    imported = Subject(fake.machine, fake.settings).imported
    assert (imported.version, imported.gpus, imported.with_cuda) == ("2.21.0", (), True)
    assert f"{library}: file too short" in imported.unloadable


def test_a_failed_start_runs_no_program(fake: FakeMachine) -> None:
    """Neither nvidia-smi, a program of the clock nor Python; all take long."""
    for name in ("nvidia-smi", "timedatectl", "chronyc", "python"):
        fake.program(name, f"touch {fake.folder}/$(basename $0).ran")
    levels = {it.level for it in findings(fake, quick=True)}
    assert levels == {Level.OK}
    assert list(fake.folder.glob("*.ran")) == []


def test_a_failed_start_is_explained_by_what_its_reason_does_not_state(fake: FakeMachine) -> None:
    """A hint explains nothing."""
    settings = Settings(listen=("tpc:80",))
    assert explain("bad", Settings(port=0), fake.machine) == []
    fake.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
    fake.descriptors = (16, -1)
    advice = "correct --listen, as in --listen tcp:12480:interface=127.0.0.1"
    limit = "descriptors: 16: a server needs at least 32; ulimit -n 4096; systemd"
    lines = explain("bad", settings, fake.machine)
    assert len(lines) == 2
    assert lines[0].startswith(limit)
    assert lines[1].startswith("listen: tpc:80: unknown kind 'tpc': expected")
    assert lines[1].endswith(f"; {advice}")
    reason = f"cannot listen on {lines[1].removeprefix('listen: ').removesuffix(f'; {advice}')}"
    assert explain(reason, settings, fake.machine)[1:] == [f"listen: {advice}"]
    assert explain(f"{reason}; {advice}", settings, fake.machine)[1:] == []
    assert explain("bad", settings, fake.machine, worker=True) == lines[:1], "no listen checks"


def command(fake: FakeMachine, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Result:
    """Return the result of `tensorferry doctor` on the machine."""
    monkeypatch.setattr("server.doctor.machine.Machine", lambda: fake.machine)
    listen = ["--listen", f"unix:{fake.folder}/a.sock"]
    return CliRunner().invoke(doctor, [*listen, *arguments], env={"TENSORFERRY_CONFIG": ""})


def test_the_command_prints_a_line_for_each_check_and_each_remedy(
    fake: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exit code is 0 with warnings, and 1 with a fault."""
    fake.descriptors = (64, -1)
    warned = command(fake, monkeypatch)
    assert (warned.exit_code, len(warned.stdout.splitlines())) == (0, len(CHECKS) + 1)
    lines = warned.stdout.splitlines()
    assert lines[0].split() == ["ok", "python", "Python", *lines[0].split()[3:]]
    at = next(i for i, line in enumerate(lines) if line.startswith("warning"))
    assert lines[at] == "warning  descriptors  64: at most 32 connections at a time"
    assert lines[at + 1].startswith("         remedy       ulimit -n 4096; ")
    assert command(fake, monkeypatch, "--lanes", "none").exit_code == 1


def test_the_command_prints_json(fake: FakeMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list of the findings; wrong settings are one of them, and prevent no other check."""
    done = command(fake, monkeypatch, "--lanes", "none", "--json")
    found = json.loads(done.stdout)
    assert done.exit_code == 1
    (wrong,) = [it for it in found if it["level"] != "ok"]
    assert wrong.keys() == {"check", "level", "found", "remedy"}
    assert (wrong["check"], wrong["level"]) == ("settings", "fault")
    assert wrong["found"].startswith("--lanes: expected auto or a whole number of at least 1")
    needed = {"listen", "announce", "model"}  # these need settings
    assert [it["check"] for it in found] == [it.name for it in CHECKS if it.name not in needed]


def test_the_page_lists_every_check() -> None:
    """In the table that `checks_markdown` makes."""
    page = Path(__file__).parent.parent / "docs" / "doctor.md"
    assert checks_markdown() in page.read_text()
