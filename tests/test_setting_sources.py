"""Every setting from every source, the order of the sources, and the errors."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from server.settings.option import SettingsError
from server.settings.sources import CommandLine, Resolved, resolve
from server.settings.table import OPTION_NAMED, OPTIONS, Settings
from tests.setting_samples import SAMPLES, with_needed, write_sample_files

#: Sets the named options to their sample texts, or the first of them to another text.
Source = Callable[[list[str], str | None], Resolved]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change to a folder with the files of the samples; the file of settings is in etc/."""
    monkeypatch.chdir(tmp_path)
    write_sample_files(tmp_path)
    tmp_path.joinpath("etc").mkdir()
    write_sample_files(tmp_path / "etc")
    return tmp_path


def texts(names: list[str], first: str | None) -> dict[str, str]:
    """Return the sample text of each option, or *first* for the first option."""
    given = {name: SAMPLES[name].text for name in names}
    return given if first is None else given | {names[0]: first}


def from_command_line(names: list[str], first: str | None = None) -> Resolved:
    """Set options on a command line."""
    given: dict[str, str | list[str]] = dict(texts(names, first))
    for name in names:
        if OPTION_NAMED[name].repeatable:
            given[name] = [texts(names, first)[name]]
    return resolve(given, {})


def from_environment(names: list[str], first: str | None = None) -> Resolved:
    """Set options in TENSORFERRY_ variables."""
    given = texts(names, first).items()
    return resolve({}, {OPTION_NAMED[name].variable: text for name, text in given})


def from_file(names: list[str], first: str | None = None) -> Resolved:
    """Set options in a file; *first* is TOML."""
    given = {name: SAMPLES[name].toml for name in names}
    if first is not None:
        given[names[0]] = first
    write_toml("".join(f"{name} = {value}\n" for name, value in given.items()))
    return resolve({"config": "etc/ferry.toml"}, {})


def write_toml(text: str) -> None:
    """Write the file of settings."""
    Path("etc/ferry.toml").write_text(text, encoding="utf-8")


def refusal(command_line: CommandLine, environ: Mapping[str, str]) -> str:
    """Return the error of `resolve`, which is one line."""
    with pytest.raises(SettingsError) as caught:
        resolve(command_line, environ)
    line = str(caught.value)
    assert "\n" not in line
    return line


EVERY_OPTION = pytest.mark.parametrize("name", [option.name for option in OPTIONS])


@EVERY_OPTION
@pytest.mark.parametrize(
    ("source", "origin"),
    [
        (from_command_line, "command line"),
        (from_environment, "TENSORFERRY_{upper}"),
        (from_file, "{folder}/etc/ferry.toml: {name}"),
    ],
)
def test_every_setting_can_be_set_in_every_source(
    name: str, source: Source, origin: str, folder: Path
) -> None:
    """The setting has the value of the sample, and the origin of the source."""
    resolved = source([option.name for option in with_needed(name)], None)
    value = getattr(resolved.settings, OPTION_NAMED[name].field)
    expected = SAMPLES[name].value
    if isinstance(expected, Path):
        expected = folder / ("etc" if source is from_file else "") / expected
    assert value == expected
    assert type(value) is type(expected) or OPTION_NAMED[name].repeatable
    assert resolved.origins[name] == origin.format(upper=name.upper(), name=name, folder=folder)


@pytest.mark.parametrize("model", ["graph", "model"])
@pytest.mark.parametrize("name", [o.name for o in OPTIONS if o.needs == ("graph", "model")])
def test_a_graph_and_a_model_are_described_by_the_same_settings(name: str, model: str) -> None:
    """Each is allowed with either, and neither requires any."""
    given = {model: SAMPLES[model].text}
    assert resolve(given, {}).origins[model] == "command line"
    assert resolve(given | {name: SAMPLES[name].text}, {}).origins[name] == "command line"


def test_a_setting_that_is_not_given_has_its_default() -> None:
    """And the origin "default"."""
    resolved = resolve({}, {"PATH": "/bin", "HOME": "/"})
    assert resolved.settings == Settings()
    assert set(resolved.origins.values()) == {"default"}
    assert resolved.origins.keys() == OPTION_NAMED.keys()


BAD_TEXTS = [(name, text) for name, sample in SAMPLES.items() for text in sample.bad]
BAD_TOML = [(name, text) for name, sample in SAMPLES.items() for text in sample.bad_toml]


@pytest.mark.parametrize(("name", "text"), BAD_TEXTS)
def test_an_error_names_option_value_expected_value_and_origin(name: str, text: str) -> None:
    """For a bad value on the command line and in the environment."""
    option = OPTION_NAMED[name]
    start = f"{option.spelling}: expected {option.kind.expected}, got {text!r} "
    for source, origin in [
        (from_command_line, "(command line)"),
        (from_environment, f"({option.variable})"),
    ]:
        with pytest.raises(SettingsError) as caught:
            source([name], text)
        assert str(caught.value).startswith(start + origin)


@pytest.mark.parametrize(("name", "toml"), BAD_TOML)
def test_an_error_of_a_file_names_file_and_key(name: str, toml: str, folder: Path) -> None:
    """TOML types are checked: a number is no string, and true is no number."""
    option = OPTION_NAMED[name]
    with pytest.raises(SettingsError) as caught:
        from_file([name], toml)
    line = str(caught.value)
    assert line.startswith(f"{option.spelling}: expected {option.kind.expected}, got ")
    assert f"({folder}/etc/ferry.toml: {name})" in line


@pytest.mark.parametrize(
    ("command_line", "environ", "toml", "expected"),
    [
        ("1", "2", "3", (1, "command line")),
        (None, "2", "3", (2, "TENSORFERRY_MAX_BATCH_SIZE")),
        (None, "", "3", (3, "FILE: max-batch-size")),
        (None, None, "3", (3, "FILE: max-batch-size")),
        ("1", None, "3", (1, "command line")),
        ("1", "broken", "-3", (1, "command line")),
        (None, None, None, (None, "default")),
    ],
)
def test_the_command_line_overrides_the_environment_and_that_the_file(
    command_line: str | None,
    environ: str | None,
    toml: str | None,
    expected: tuple[int | None, str],
    folder: Path,
) -> None:
    """The text of a weaker source is not read."""
    write_toml("" if toml is None else f"max-batch-size = {toml}")
    resolved = resolve(
        {} if command_line is None else {"max_batch_size": command_line},
        {"TENSORFERRY_CONFIG": "etc/ferry.toml"}
        | ({} if environ is None else {"TENSORFERRY_MAX_BATCH_SIZE": environ}),
    )
    origin = resolved.origins["max_batch_size"].replace(f"{folder}/etc/ferry.toml", "FILE")
    assert (resolved.settings.max_batch_size, origin) == expected


@pytest.mark.parametrize(
    ("given", "endpoints"),
    [
        (resolve({"listen": ["tcp:1", "unix:/a b"]}, {}), ("tcp:1", "unix:/a b")),
        (resolve({"listen": "tcp:1"}, {}), ("tcp:1",)),
        (resolve({}, {"TENSORFERRY_LISTEN": " tcp:1\n tcp6:2 "}), ("tcp:1", "tcp6:2")),
        (resolve({"listen": ["tcp:1"]}, {"TENSORFERRY_LISTEN": "tcp:2"}), ("tcp:1",)),
    ],
)
def test_there_may_be_several_endpoints(given: Resolved, endpoints: tuple[str, ...]) -> None:
    """Whitespace separates them in a variable; a stronger source replaces all of them."""
    assert given.settings.endpoints == endpoints


@pytest.mark.parametrize(
    ("toml", "listen"), [('["tcp:1", "tcp:2"]', ("tcp:1", "tcp:2")), ('"tcp:1"', ("tcp:1",))]
)
def test_endpoints_in_a_file_are_an_array_or_one_string(toml: str, listen: object) -> None:
    """A single endpoint needs no array; the file of the command line is the only one read."""
    write_toml(f"listen = {toml}")
    environ = {"TENSORFERRY_CONFIG": "missing.toml"}
    assert resolve({"config": "etc/ferry.toml"}, environ).settings.listen == listen


def test_a_switch_that_is_on_in_a_file_can_be_turned_off() -> None:
    """False on the command line is a given value."""
    write_toml("access_log = true")
    resolved = resolve({"config": "etc/ferry.toml", "access_log": False}, {})
    assert (resolved.settings.access_log, resolved.origins["access_log"]) == (False, "command line")


@pytest.mark.parametrize(
    ("command_line", "environ", "line"),
    [
        ({"port": "80"}, {"TENSORFERRY_LISTEN": "tcp:1"},
            "port (command line) and listen (TENSORFERRY_LISTEN) exclude each other: give one"),
        ({"graph": "graph.pb"}, {"TENSORFERRY_MODEL": "served"},
            "model (TENSORFERRY_MODEL) and graph (command line) exclude each other: give one"),
        ({}, {"TENSORFERRY_LABELS": "labels.txt"},
            "labels (TENSORFERRY_LABELS) needs graph or model, which is not given"),
        ({"output_layer": "softmax"}, {},
            "output_layer (command line) needs graph or model, which is not given"),
        ({"graph": "graph.pb", "signature": "serving_default"}, {},
            "signature (command line) needs model, which is not given"),
        ({"workers": "2", "listen": ("tcp:1", "systemd:x")}, {},
            "--listen: with --workers only tcp, tcp6 and unix, got 'systemd:x' (command line)"),
        ({"workers": "2", "listen": ("ssl:1:x",)}, {},
            "--listen: with --workers only tcp, tcp6 and unix, got 'ssl:1:x' (command line)"),
        ({"max_batchsize": "1"}, {},
            "--max-batchsize: no such setting; did you mean --max-batch-size?"),
        ({"colour": "red"}, {}, "--colour: no such setting"),
        ({}, {"TENSORFERRY_MAX_BATCHSIZE": ""},
            "TENSORFERRY_MAX_BATCHSIZE: no such setting; did you mean TENSORFERRY_MAX_BATCH_SIZE?"),
        ({}, {"TENSORFERRY_COLOUR": "red"}, "TENSORFERRY_COLOUR: no such setting"),
        ({}, {"TENSORFERRY_lanes": "1"},
            "TENSORFERRY_lanes: no such setting; did you mean TENSORFERRY_LANES?"),
        ({}, {"TENSORFERRY_CHECK_CONFIG": "1"},
            "TENSORFERRY_CHECK_CONFIG: no such setting; did you mean TENSORFERRY_CONFIG?"),
        ({"config": "."}, {},
            "--config: expected a readable file, got '.' (command line): not a regular file"),
    ],
)  # fmt: skip
def test_wrong_settings_are_refused_in_one_line(
    command_line: CommandLine, environ: Mapping[str, str], line: str
) -> None:
    """The line names the settings, their origins and a remedy."""
    assert refusal(command_line, environ) == line


def test_a_wrong_url_of_a_registry_is_refused_with_the_reason() -> None:
    """At the end of the line; with the option for what the URL cannot hold."""
    line = refusal({"announce": "registry://u:p@a"}, {})
    assert line.startswith("--announce: expected the URL of a registry, such as zk://")
    assert line.endswith("(command line): registry:// takes no user and password; a server gives "
                         "its token with --announce-token-file FILE")  # fmt: skip


def test_an_empty_list_is_refused() -> None:
    """It is a given value, and no endpoint to listen on."""
    assert refusal({"listen": []}, {}).endswith("got none (command line)")


@pytest.mark.parametrize(
    ("toml", "line"),
    [
        ("max-batchsize = 1", "FILE: max-batchsize: no such setting; did you mean max_batch_size?"),
        ("[server]\nport = 1", "FILE: server: no such setting"),
        ('"lan\\nes" = 1', r"FILE: lan\nes: no such setting; did you mean lanes?"),
        ('config = "b.toml"', "FILE: config: no such setting"),
        ("max-pixels = 1\nmax_pixels = 2",
            "FILE: max_pixels: the same setting as FILE: max-pixels; give it once"),
        ("port 1", "FILE: expected a TOML file: Expected '=' after a key in a key/value pair"),
        ("lanes = {}", "--lanes: expected auto or a whole number of at least 1, got {} (FILE: la"),
        ("access_log = 1", "--access-log: expected true or false, got 1 (FILE: access_log)"),
        ("max_batch_size = true", "--max-batch-size: expected a whole number of at least 1, got t"),
        ("port = 80.50", "--port: expected a whole number from 0 to 65535, got 80.50 (FILE: port)"),
        ("port = 80\nlisten = 'tcp:81'", "port (FILE: port) and listen (FILE: listen) exclude"),
        ('graph = "a/../missing.pb"',
            "--graph: expected a readable file, got 'FOLDER/a/../missing.pb' (FILE: graph)"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused_in_one_line(toml: str, line: str, folder: Path) -> None:
    """The line begins with the text of the table; FILE and FOLDER stand for paths."""
    write_toml(toml)
    error = refusal({"config": "etc/ferry.toml"}, {})
    error = error.replace(f"{folder}/etc/ferry.toml", "FILE").replace(f"{folder}/etc", "FOLDER")
    assert error.startswith(line)


def test_a_file_that_is_not_text_is_refused() -> None:
    """With the error of a file that is not TOML."""
    Path("latin.toml").write_bytes(b'graph = "\xe9"')
    assert "latin.toml: expected a TOML file: 'utf-8' codec" in refusal(
        {"config": "latin.toml"}, {}
    )


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("TENSORFERRY_SERVICE_HOST", "10.0.0.1"),
        ("TENSORFERRY_SERVICE_PORT", "12480"),
        ("TENSORFERRY_SERVICE_PORT_HTTP", "12480"),
        ("TENSORFERRY_PORT", "tcp://10.0.0.1:12480"),
        ("TENSORFERRY_PORT_12480_TCP", "tcp://10.0.0.1:12480"),
        ("TENSORFERRY_PORT_12480_TCP_PROTO", "tcp"),
        ("TENSORFERRY_PORT_12480_TCP_PORT", "12480"),
        ("TENSORFERRY_PORT_12480_TCP_ADDR", "10.0.0.1"),
        ("TENSORFERRY_CANARY_SERVICE_HOST", "10.0.0.2"),
        ("TENSORFERRY_CANARY_PORT", "tcp://10.0.0.2:12480"),
    ],
)
def test_the_variables_of_a_kubernetes_service_are_ignored(variable: str, text: str) -> None:
    """So that the pods of a Service called tensorferry can start."""
    assert resolve({}, {variable: text}) == resolve({}, {})
    assert resolve({}, {"TENSORFERRY_PORT": "80"}).settings.port == 80


def test_the_mappings_are_not_changed() -> None:
    """Above all the environment of the process."""
    command_line: dict[str, Any] = {"port": "1"}
    environ = {"TENSORFERRY_LANES": "2", "TENSORFERRY_CONFIG": ""}
    resolve(command_line, environ)
    assert command_line == {"port": "1"}
    assert environ == {"TENSORFERRY_LANES": "2", "TENSORFERRY_CONFIG": ""}
