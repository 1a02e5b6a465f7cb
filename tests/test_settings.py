"""The table of settings: the parts of a row, and `Settings`: server/settings/table.py."""

import subprocess
import sys
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from server.settings.groups import GROUPS
from server.settings.option import Option
from server.settings.table import (
    CHECK_CONFIG,
    CONFIG,
    OPTION_NAMED,
    OPTIONS,
    Settings,
)
from tests.setting_samples import SAMPLES

EVERY_OPTION = pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)


@EVERY_OPTION
def test_a_row_of_the_table_is_complete(option: Option[Any]) -> None:
    """It has a group, a sentence and a default in words, and refers to options that exist."""
    assert option.group in GROUPS
    assert option.meaning.endswith(".")
    assert option.default
    for other in (*option.needs, *option.excludes):
        assert other in OPTION_NAMED
        assert other != option.name


@EVERY_OPTION
def test_a_default_is_a_value_that_could_be_given(option: Option[Any]) -> None:
    """The kind reads the default on help pages as the default of the field."""
    default = getattr(Settings(), option.field)
    if default in (None, ()) and option.default != "auto":
        with pytest.raises((ValueError, OSError)):  # words, not a value
            option.kind.parse(option.default)
    elif option.repeatable:
        assert (option.kind.parse(option.default),) == default
    else:
        assert option.kind.parse(option.default) == default


def test_every_setting_has_a_sample() -> None:
    """So that the tests over the samples cover every setting."""
    assert SAMPLES.keys() == OPTION_NAMED.keys()


def test_a_setting_has_a_name_on_the_command_line_and_one_in_the_environment() -> None:
    """Both are made from the name in the table; a field in seconds may be an option in ms."""
    option = OPTION_NAMED["max_queue_delay_ms"]
    assert option.field == "max_queue_delay"
    assert option.spelling == "--max-queue-delay-ms"
    assert option.variable == "TENSORFERRY_MAX_QUEUE_DELAY_MS"
    names = [option.name for option in (*OPTIONS, CONFIG, CHECK_CONFIG)]
    assert len(set(names)) == len(names)


def test_the_server_listens_on_the_loopback_interface_by_default() -> None:
    """A port is short for an endpoint on that interface."""
    assert Settings().endpoints == ("tcp:12480:interface=127.0.0.1",)
    assert Settings(port=0).endpoints == ("tcp:0:interface=127.0.0.1",)
    assert Settings(listen=("tcp:80", "unix:/run/a")).endpoints == ("tcp:80", "unix:/run/a")


def test_settings_do_not_change() -> None:
    """They are fixed before the server starts."""
    settings = Settings()
    with pytest.raises(FrozenInstanceError):
        settings.port = 80  # type: ignore[misc]  # the error under test


def test_no_reactor_and_no_tensorflow_is_imported_for_settings() -> None:
    """Help is instant, and twistd has not chosen its reactor; `tensorferry` needs no Twisted."""
    forbidden = "{'tensorflow', 'numpy', 'klein', 'twisted.internet.reactor', 'twisted.web'}"
    for modules, more in [
        ("server.settings.click_options, server.settings.report", "{'twisted'}"),
        ("server.settings.twistd", "set()"),
        ("scripts.cli", "{'rich', 'PIL'}"),
        ("scripts.loadtest, scripts.simulate", "{'twisted', 'rich'}"),
    ]:
        program = (
            f"import sys, {modules}; sys.exit(repr(({forbidden} | {more}) & {{*sys.modules}}))"
        )
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=False
        )
        assert done.stderr.strip() == "set()"
