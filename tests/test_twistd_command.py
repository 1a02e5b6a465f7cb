"""The twistd door: the same settings as through click's, and errors as twistd shows them."""

from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from twisted.python import usage

from server.settings.click_options import SettingsCommand, click_options
from server.settings.sources import CommandLine, Resolved, resolve
from server.settings.table import GROUPS, OPTIONS, Option
from server.settings.twistd import TwistdOptions
from tests.setting_samples import SAMPLES, with_needed, write_sample_files


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be in a folder with the files that samples name."""
    monkeypatch.chdir(tmp_path)
    write_sample_files(tmp_path)
    return tmp_path


def by_twistd(*arguments: str, **environ: str) -> Resolved:
    """Resolve *arguments* as ``twistd tensorferry`` does."""
    options = TwistdOptions(environ)
    options.parseOptions(arguments)
    return options.resolved


def by_click(*arguments: str) -> Resolved:
    """Resolve *arguments* as a click command does."""
    heard: list[Resolved] = []

    @click.command(cls=SettingsCommand)
    @click_options(*GROUPS)
    def serve(command_line: CommandLine, check_config: bool) -> None:
        assert not check_config
        heard.append(resolve(command_line, {}))

    assert CliRunner().invoke(serve, arguments, catch_exceptions=False).exit_code == 0
    return heard[0]


def refusal(*arguments: str) -> str:
    """Return the line that twistd prints."""
    with pytest.raises(usage.UsageError) as caught:
        by_twistd(*arguments)
    return str(caught.value)


@pytest.mark.parametrize(
    "spell", ["--{dashes}", "--{underscores}", "--{dashes}=", "--{underscores}="]
)
@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_every_setting_means_the_same_to_twistd_and_to_click(
    option: Option[Any], spell: str
) -> None:
    """However it is spelled."""
    arguments: list[str] = []
    for each in with_needed(option.name):
        text = SAMPLES[each.name].text
        name = spell.format(dashes=each.spelling[2:], underscores=each.name)
        if not each.metavar:
            arguments.append(name.removesuffix("="))
        elif name.endswith("="):
            arguments.append(name + text)
        else:
            arguments += [name, text]
    resolved = by_twistd(*arguments)
    assert resolved == by_click(*arguments)
    assert resolved.origins[option.name] == "command line"


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--listen", "tcp:1", "--listen=tcp:2"),
        ("--port", "1", "--port", "2"),
        ("--port", "none", "--port", "2"),
        ("--access-log", "--no-access-log"),
        ("--no_access_log", "--access_log"),
        ("--graph=graph.pb", "--labels", "labels.txt", "--output_layer", "a_b"),
        ("--graph=labels.txt", "--labels=labels.txt", "--input_layer", "a_port"),
    ],
)
def test_equal_arguments_give_equal_settings(arguments: tuple[str, ...]) -> None:
    """Lists, repetitions and switches."""
    assert by_twistd(*arguments) == by_click(*arguments)


def test_the_environment_is_read_too() -> None:
    """The one that is passed, or that of the process."""
    assert by_twistd(TENSORFERRY_LANES="3").settings.lanes == 3


def test_makeservice_gets_the_environment_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """For twistd makes the options without arguments."""
    monkeypatch.setenv("TENSORFERRY_LANES", "4")
    options = TwistdOptions()
    options.parseOptions(["--max-batch-size", "2"])
    assert (options.resolved.settings.lanes, options.resolved.settings.max_batch_size) == (4, 2)


def test_checking_is_asked_for_by_a_flag_that_is_no_setting() -> None:
    """And is not the default."""
    for arguments, asked in [([], False), (["--check-config"], True), (["--check_config"], True)]:
        options = TwistdOptions({})
        options.parseOptions(arguments)
        assert options["check-config"] is asked


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["--max-batchsize", "1"],
            "--max-batchsize: no such setting; did you mean --max-batch-size?",
        ),
        (["--max_batchsize=1"], "--max_batchsize: no such setting; did you mean --max-batch-size?"),
        (["--colour"], "--colour: no such setting"),
        (["--port"], "option --port requires argument"),
        (["--check-config=1"], "option --check-config must not have an argument"),
        (["-x"], "option -x not recognized"),
        (["model.pb"], "model.pb: expected an option, such as --port 8000"),
        (
            ["--port", "x"],
            "--port: expected a whole number from 0 to 65535, got 'x' (command line)",
        ),
        (
            ["--labels", "labels.txt"],
            "labels (command line) needs graph or model, which is not given",
        ),
        (
            ["--config", "."],
            "--config: expected a readable file, got '.' (command line): not a regular file",
        ),
    ],
)
def test_errors_are_usage_errors_of_one_line(arguments: list[str], line: str) -> None:
    """The line that twistd prints below its help page."""
    assert refusal(*arguments) == line


def test_the_help_page_shows_each_setting_with_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """And a synopsis, and a few words."""
    monkeypatch.setenv("COLUMNS", "1000")
    page = str(TwistdOptions({}))
    assert page.startswith("[options]\n")
    assert "Serve a TensorFlow model over HTTP" in page
    for option in OPTIONS:
        assert f"{option.explanation} [default: {option.default}]\n" in page
        assert f"--{option.name.replace('_', '-')}" in page
    assert "--max_batch_size" not in page
