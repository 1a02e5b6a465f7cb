"""Flags of TensorFlow Serving on the command line of the server: server/settings/tf_serving.py."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from scripts.cli import main
from server.settings.option import SettingsError
from server.settings.sources import resolve
from server.settings.table import OPTION_NAMED
from server.settings.tf_serving import FLAGS


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change to a folder with the folder of a model and two files."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "half" / "1").mkdir(parents=True)
    (tmp_path / "models.config").write_text("model_config_list {}")
    (tmp_path / "batching.txt").write_text(
        "max_batch_size { value: 32 } batch_timeout_micros { value: 500 } num_batch_threads {}"
    )
    return tmp_path


def checked(*arguments: str) -> tuple[dict[str, str], list[str]]:
    """Return the settings that the command line sets, as text, and the notes."""
    result = CliRunner().invoke(main, ["serve", *arguments, "--check-config"], env={})
    assert result.exit_code == 0, result.output
    settings, notes = {}, []
    for line in result.output.splitlines():
        setting, has_origin, origin = line.partition("  # ")
        if not has_origin:
            notes.append(line.removeprefix("# "))
        elif origin == "command line":
            name, _, value = setting.partition(" = ")
            settings[name.strip()] = value.strip()
    return settings, notes


GRPC = "gRPC is not served"


@pytest.mark.parametrize(
    ("arguments", "settings", "notes"),
    [
        ("--rest_api_port=8501", {"listen": '["tcp:8501"]'},
            ["--rest_api_port=8501 sets listen = tcp:8501"]),
        ("--rest_api_port 8501 --port 8500", {"listen": '["tcp:8501"]'},
            [f"--port=8500 is ignored: {GRPC}", "--rest_api_port=8501 sets listen = tcp:8501"]),
        ("--port=8500", {"port": "8500"}, []),
        ("--rest_api_timeout_in_ms=1500", {"default_timeout": "1.5"},
            ["--rest_api_timeout_in_ms=1500 sets default_timeout = 1.5"]),
        ("--file_system_poll_wait_seconds=60", {"poll_interval": "60"},
            ["--file_system_poll_wait_seconds=60 sets poll_interval = 60"]),
        ("--file-system-poll-wait-seconds 0", {"poll_interval": '"once"'},
            ["--file_system_poll_wait_seconds=0 sets poll_interval = once"]),
        ("--rest_api_enable_cors_support", {"cors_origins": '["*"]'},
            ["--rest_api_enable_cors_support=true sets cors_origins = *"]),
        ("--rest_api_enable_cors_support=false", {},
            ["--rest_api_enable_cors_support=false sets no setting"]),
        ("--file_system_poll_wait_seconds=-1", {"poll_interval": '"once"'},
            ["--file_system_poll_wait_seconds=-1 sets poll_interval = once"]),
        ("--enable_batching --batching_parameters_file=batching.txt",
            {"max_batch_size": "32", "max_queue_delay_ms": "0.5"},
            [("--batching_parameters_file=batching.txt sets max_batch_size = 32 and "
             "max_queue_delay_ms = 0.5"),
             ("FOLDER/batching.txt:1: num_batch_threads is ignored: --lanes states the threads "
             "that run batches"),
             ("--enable_batching=true is ignored: requests that wait share batches; "
             "--max-batch-size 1 prevents it")]),
        ("--model_base_path=half --model_name half_plus_two",
            {"model_base_path": '"FOLDER/half"', "model_name": '"half_plus_two"'}, []),
        ("--model_config_file=models.config --model_name=a --model_base_path=/absent",
            {"model_config_file": '"FOLDER/models.config"'},
            ["model_base_path (command line) is ignored: model_config_file lists the models",
             "model_name (command line) is ignored: model_config_file lists the models"]),
        ("--grpc_max_threads=4 --ssl_config_file=/absent", {},
            [f"--grpc_max_threads=4 is ignored: {GRPC}",
             f"--ssl_config_file=/absent is ignored: {GRPC}; --listen ssl:PORT:... serves HTTPS"]),
    ],
)  # fmt: skip
def test_a_flag_sets_an_option_or_is_ignored_with_a_reason(
    folder: Path, arguments: str, settings: dict[str, str], notes: list[str]
) -> None:
    """One line for each; a file is read where it is named."""
    found, lines = checked(*arguments.split())
    assert found == {key: value.replace("FOLDER", str(folder)) for key, value in settings.items()}
    assert lines == [note.replace("FOLDER", str(folder)) for note in notes]


@pytest.mark.parametrize("flag", FLAGS, ids=lambda flag: flag.name)
def test_each_flag_without_effect_is_taken_in_every_form(flag: object) -> None:
    """A switch without a value, too."""
    (flag,) = [it for it in FLAGS if it is flag]
    if flag.meaning is not None:
        return
    value = "false" if flag.takes_no_value else "1"
    expected = [f"--{flag.name}={value} is ignored: {flag.effect}"]
    assert checked(f"--{flag.name}={value}") == ({}, expected)
    assert checked(f"--{flag.name}", value) == ({}, expected)
    if flag.takes_no_value:
        _, (note,) = checked(f"--{flag.name}")
        assert note.startswith(f"--{flag.name}=true ")


def test_a_flag_with_a_value_needs_one() -> None:
    """The error is that of click, in one line."""
    result = CliRunner().invoke(main, ["serve", "--rest_api_port"], env={})
    assert result.exit_code == 2
    assert "Option '--rest_api_port' requires an argument" in result.output


def test_no_flag_has_the_name_of_an_option() -> None:
    """An option keeps its meaning."""
    names = [flag.name for flag in FLAGS]
    assert len(set(names)) == len(names)
    assert not {*names} & OPTION_NAMED.keys()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rest_api_port": "0"},
            "--rest_api_port: expected a whole number from 1 to 65535, got '0' (command line)"),
        ({"rest_api_port": "80", "listen": ("tcp:81",)},
            "--rest_api_port and --listen: give one"),
        ({"rest_api_timeout_in_ms": "1000", "default_timeout": "1"},
            "--rest_api_timeout_in_ms and --default-timeout: give one"),
        ({"file_system_poll_wait_seconds": "-2"},
            ("--file_system_poll_wait_seconds: expected a whole number of at least -1, got '-2' "
            "(command line)")),
        ({"batching_parameters_file": "absent"}, ("--batching_parameters_file: expected a batching "
            "parameters file, got 'absent' (command line): No such file or directory")),
        ({"batching_parameters_file": "models.config"}, ("--batching_parameters_file: expected a "
            "batching parameters file, got 'models.config' (command line): FOLDER/models.config:1: "
            "no such field: model_config_list")),
        ({"enable_batching": "perhaps"},
            "--enable_batching: expected true or false, got 'perhaps' (command line)"),
        ({"model_config_file": "batching.txt"}, ("--model-config-file: expected a model config "
            "file, "
            "got 'batching.txt' (command line): FOLDER/batching.txt:1: no such field: "
            "max_batch_size")),
        ({"model_base_path": "half", "models": "half"},
            ("model_base_path (command line) and models (command line) exclude each other: give "
            "one")),
        ({"model_name": "a"},
            "model_name (command line) needs model_base_path, which is not given"),
    ],
)  # fmt: skip
def test_a_wrong_flag_is_refused_in_one_line(
    folder: Path, given: dict[str, str], message: str
) -> None:
    """With its name, its value, and the line of a file."""
    with pytest.raises(SettingsError) as caught:
        resolve(given, {})
    assert str(caught.value) == message.replace("FOLDER", str(folder))


def test_a_flag_overrides_the_environment_as_its_option_does() -> None:
    """And is overridden by nothing."""
    resolved = resolve({"rest_api_timeout_in_ms": "250"}, {"TENSORFERRY_DEFAULT_TIMEOUT": "9"})
    assert resolved.settings.default_timeout == 0.25
