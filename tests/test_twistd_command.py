"""The options of ``twistd tensorferry``, and their errors: server/settings/twistd.py."""

from pathlib import Path

import pytest
from twisted.python import usage

from server.settings.sources import Resolved, resolve
from server.settings.table import OPTIONS
from server.settings.twistd import TwistdOptions
from tests.setting_samples import write_sample_files


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change to a folder with the files that the samples name."""
    monkeypatch.chdir(tmp_path)
    write_sample_files(tmp_path)
    return tmp_path


def parsed(*arguments: str, **environ: str) -> Resolved:
    """Return the settings that ``twistd tensorferry`` reads from *arguments* and *environ*."""
    options = TwistdOptions(environ)
    options.parseOptions(arguments)
    return options.resolved


@pytest.mark.parametrize(
    ("arguments", "command_line"),
    [
        ((), {}),
        (("--listen", "tcp:1", "--listen=tcp:2"), {"listen": ["tcp:1", "tcp:2"]}),
        (("--port", "none", "--port", "2"), {"port": "2"}),
        (("--no_access_log", "--access_log"), {"access_log": True}),
        (("--access-log", "--no-access-log"), {"access_log": False}),
        (("--graph=labels.txt", "--labels=labels.txt", "--input_layer", "a_port"),
            {"graph": "labels.txt", "labels": "labels.txt", "input_layer": "a_port"}),
    ],
)  # fmt: skip
def test_the_arguments_are_those_of_the_click_command(
    arguments: tuple[str, ...], command_line: dict[str, str | list[str] | bool]
) -> None:
    """Lists, repeated options, switches, and underscores in place of dashes."""
    assert parsed(*arguments) == resolve(command_line, {})


def test_the_environment_is_read_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mapping that is passed; by default that of the process, because twistd passes none."""
    assert parsed(TENSORFERRY_LANES="3").settings.lanes == 3
    monkeypatch.setenv("TENSORFERRY_LANES", "4")
    options = TwistdOptions()
    options.parseOptions(["--max-batch-size", "2"])
    assert (options.resolved.settings.lanes, options.resolved.settings.max_batch_size) == (4, 2)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--max-batchsize", "1"], "No such option.*--max-batchsize.*--max-batch-size"),
        (["--colour"], "No such option.*--colour"),
        (["--port"], "Option '--port' requires an argument"),
        (["--check-config=1"], "Option '--check-config' does not take a value"),
        (["-x"], "No such option.*-x"),
        (["model.pb"], r"Got unexpected extra argument \(model.pb\)"),
        (["--port", "x"], "--port: expected a whole number from 0 to 65535, got 'x' "),
        (["--labels", "labels.txt"], r"labels \(command line\) needs graph or model, which is not"),
        (["--config", "."], r"--config: expected a readable file, got '.' \(command line\): not a"),
    ],
)
def test_an_error_is_a_usage_error_of_one_line(arguments: list[str], line: str) -> None:
    """Those of click and those of the settings."""
    with pytest.raises(usage.UsageError, match=f"^{line}") as caught:
        parsed(*arguments)
    assert "\n" not in str(caught.value)


def test_help_shows_each_setting_with_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    """The page of the click command, under twistd's name; compared without whitespace."""
    with pytest.raises(SystemExit) as caught:
        parsed("--help")
    assert caught.value.code == 0
    page = "".join(capsys.readouterr().out.split())
    assert page.startswith("Usage:twistdtensorferry[OPTIONS]ServeaTensorFlowmodel")
    for option in OPTIONS:
        assert "".join(f"{option.explanation}[default:{option.default}]".split()) in page
        assert option.spelling in page


def test_version_shows_that_of_twisted(capsys: pytest.CaptureFixture[str]) -> None:
    """As for every plugin of twistd."""
    with pytest.raises(SystemExit) as caught:
        parsed("--version")
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith("Twisted version: ")


def test_shell_completion_knows_every_option() -> None:
    """Twisted reads it from two tables of the class."""
    values = {row[0] for row in TwistdOptions.optParameters}
    flags = {row[0] for row in TwistdOptions.optFlags}
    assert {option.spelling[2:] for option in OPTIONS} <= values | flags
    assert {"access-log", "no-access-log", "check-config"} <= flags
    assert "config" in values
