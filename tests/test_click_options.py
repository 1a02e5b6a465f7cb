"""The settings as click options, and their help page: server/settings/click_options.py."""

import re
from typing import Any

import click
import pytest
from click.testing import CliRunner

from server.settings.click_options import FLAGS_HEADING, SettingsCommand, click_options
from server.settings.groups import GROUPS
from server.settings.option import Option
from server.settings.sources import CommandLine
from server.settings.table import OPTIONS
from tests.setting_samples import SAMPLES


def run(*arguments: str) -> tuple[CommandLine, bool]:
    """Return the settings that a command receives with *arguments*."""
    received: list[tuple[CommandLine, bool]] = []
    result = CliRunner().invoke(command(received), arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return received[0]


def command(received: list[tuple[CommandLine, bool]]) -> click.Command:
    """Return a command with one more option, which appends what it receives to *received*."""

    @click.command(cls=SettingsCommand)
    @click_options(*GROUPS)
    @click.option("--own", help="No setting.")
    def serve(command_line: CommandLine, check_config: bool, own: str | None) -> None:
        assert own in {None, "own"}
        received.append((command_line, check_config))

    return serve


@pytest.mark.parametrize("dashes", [True, False])
@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_every_setting_is_an_option_with_dashes_or_underscores(
    option: Option[Any], dashes: bool
) -> None:
    """The command receives the text unchanged."""
    spelling = option.spelling if dashes else f"--{option.name}"
    if not option.metavar:
        assert run(spelling) == ({option.name: True}, False)
        negation = spelling.replace("--", "--no-" if dashes else "--no_")
        assert run(negation) == ({option.name: False}, False)
        return
    text = SAMPLES[option.name].text
    expected = (text,) if option.repeatable else text
    assert run(spelling, text) == ({option.name: expected}, False)
    assert run(f"{spelling}={text}") == ({option.name: expected}, False)


def test_only_the_options_that_were_given_are_passed_on() -> None:
    """Without their defaults."""
    assert run() == ({}, False)
    assert run("--own", "own") == ({}, False)
    assert run("--config", "a.toml", "--check-config") == ({"config": "a.toml"}, True)
    assert run("--check_config") == ({}, True)


def test_click_reads_no_variables() -> None:
    """Even with auto_envvar_prefix: `resolve` reads them, and names them in errors."""
    environ = {"FERRY_ACCESS_LOG": "perhaps", "FERRY_LANES": "3"}
    received: list[tuple[CommandLine, bool]] = []
    result = CliRunner().invoke(command(received), [], env=environ, auto_envvar_prefix="FERRY")
    assert (result.exit_code, received) == (0, [({}, False)])


def test_a_repeated_option_adds_an_endpoint_or_replaces_the_value() -> None:
    """The last value counts, also for switches."""
    assert run("--listen", "tcp:1", "--listen", "tcp:2")[0] == {"listen": ("tcp:1", "tcp:2")}
    assert run("--port", "1", "--port", "2")[0] == {"port": "2"}
    assert run("--access-log", "--no-access-log")[0] == {"access_log": False}


def test_a_misspelt_option_is_refused_with_a_hint() -> None:
    """The error is that of click."""
    result = CliRunner().invoke(command([]), ["--max-batchsize", "1"])
    assert result.exit_code == 2
    assert "--max-batchsize" in result.output
    assert "--max-batch-size" in result.output.replace("--max-batchsize", "")


def test_the_help_page_shows_each_setting_once_in_its_group() -> None:
    """With its default; the spellings with underscores are hidden."""
    page = CliRunner().invoke(command([]), ["--help"], terminal_width=1000).output
    headings = [line.removesuffix(":") for line in page.splitlines() if line.endswith(":")]
    assert headings == [*GROUPS, FLAGS_HEADING, "Other"]
    lines = re.sub("\n {9,}", "  ", page).splitlines()  # a long name has its meaning below it
    for option in OPTIONS:
        line = next(line for line in lines if line.startswith(f"  {option.spelling} "))
        assert line.endswith(f"{option.explanation}  [default: {option.default}]")
        assert option.metavar in line
        assert page.count(f"  {option.spelling} ") == 1
    assert "--max_batch_size" not in page
    assert "--access-log / --no-access-log" in page
    assert page.count("--check-config") == page.count("--config") == page.count("--own") == 1
