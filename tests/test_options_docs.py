"""The settings as text: the output of --check-config, and docs/options.md."""

import re
import tomllib
from pathlib import Path

import pytest

from server.settings.groups import GROUPS
from server.settings.report import describe, options_markdown
from server.settings.sources import CommandLine, Resolved, resolve
from server.settings.table import CHECK_CONFIG, CONFIG, OPTIONS
from tests.setting_samples import SAMPLES, write_sample_files

PAGE = Path(__file__).parent.parent / "docs" / "options.md"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change to a folder with the files that the samples name."""
    monkeypatch.chdir(tmp_path)
    write_sample_files(tmp_path)
    return tmp_path


def read_back(text: str) -> Resolved:
    """Resolve *text* as a file of settings in another folder."""
    Path("elsewhere").mkdir(exist_ok=True)
    Path("elsewhere/ferry.toml").write_text(text, encoding="utf-8")
    return resolve({"config": "elsewhere/ferry.toml"}, {})


#: What cannot be given together with a model.
REPOSITORY = {
    "models",
    "model_base_path",
    "model_name",
    "model_config_file",
    "admin_token_file",
    "admin_listen",
}
SAMPLED = {name: sample.text for name, sample in SAMPLES.items()}


@pytest.mark.parametrize(
    "command_line",
    [
        {},
        {
            n: text
            for n, text in SAMPLED.items()
            if n not in {"port", "model", "signature", *REPOSITORY}
        },
        {n: text for n, text in SAMPLED.items() if n not in {"listen", "graph", *REPOSITORY}},
        {"listen": ["tcp:1", 'unix:/run/"quoted" \\:name\t\x7f.sock', "unix:/run/é"]},
        {"port": "0"},
        {"max_queue_delay_ms": "0.1", "client_timeout": "1e-7", "default_timeout": "12345678.9"},
        {"max_queue_bytes": "1025", "lanes": "auto", "device": "auto", "default_timeout": "none"},
        {"max_queue_delay_ms": "0"},
    ],
    ids=["nothing", "with a graph", "with a model", "endpoints", "port", "decimals", "words", "0"],
)
def test_the_described_settings_can_be_read_back(command_line: CommandLine) -> None:
    """Reading gives the same settings, and the same description except for the origins."""
    resolved = resolve(command_line, {})
    text = describe(resolved)
    again = read_back(text)
    assert again.settings == resolved.settings
    assert values(describe(again)) == values(text)


def values(description: str) -> list[str]:
    """Return the lines without the last comment, which is the origin."""
    return [line.rpartition("  # ")[0].rstrip() for line in description.splitlines()]


def test_a_description_has_a_line_for_each_setting_with_its_origin(folder: Path) -> None:
    """Aligned; a comment if it has no value, or if another setting replaces it."""
    Path("ferry.toml").write_text("max-batch-size = 8\n", encoding="utf-8")
    resolved = resolve(
        {"config": "ferry.toml", "port": "80"}, {"TENSORFERRY_MAX_QUEUE_BYTES": "1GiB"}
    )
    lines = describe(resolved).splitlines()
    assert len(lines) == len(OPTIONS)
    assert len({line.index(" = ") if " = " in line else -1 for line in lines}) == 1
    assert len({line.rindex("  # ") for line in lines}) == 1
    squeezed = {re.sub(" +", " ", line) for line in lines}
    assert squeezed > {
        (
            "# listen = none, it is tcp:12480:interface=127.0.0.1; "
            "with --announce a free port # default"
        ),
        "port = 80 # command line",
        "# graph = none, the default model is served # default",
        "# input_std = from model.toml, else 255 # default",
        'device = "auto" # default',
        f"max_batch_size = 8 # {folder}/ferry.toml: max-batch-size",
        "# max_queue_delay_ms = learned # default",
        'max_queue_bytes = "1GiB" # TENSORFERRY_MAX_QUEUE_BYTES',
        "access_log = false # default",
    }


def test_an_origin_cannot_break_out_of_its_comment() -> None:
    """Even if a file name holds a line break."""
    Path("a\nport = 1.toml").write_text("lanes = 2\n", encoding="utf-8")
    resolved = resolve({"config": "a\nport = 1.toml"}, {})
    assert tomllib.loads(describe(resolved))["lanes"] == 2
    assert "port" not in tomllib.loads(describe(resolved))


def test_the_page_is_up_to_date() -> None:
    """To update it: python -m server.settings.report > docs/options.md."""
    assert PAGE.read_text(encoding="utf-8") == options_markdown()


def test_every_option_is_a_row_of_the_page() -> None:
    """In the table of its group, with as many cells as the head."""
    sections = dict(re.findall(r"^## (.+)\n\n((?:\|.*\n)+)", options_markdown(), re.MULTILINE))
    assert list(sections) == list(GROUPS)
    for option in (*OPTIONS, CONFIG, CHECK_CONFIG):
        rows = [
            row
            for row in sections[option.group].splitlines()
            if re.match(rf"\| `{option.spelling}[ `]", row)
        ]
        assert len(rows) == 1
        assert len(re.findall(r"(?<!\\)\|", rows[0])) == 5
        assert option.explanation in rows[0]
        assert f"| {option.default} |" in rows[0]
        assert (f"| `{option.variable}` |" in rows[0]) is (option is not CHECK_CONFIG)


def test_the_sample_file_of_the_page_is_valid() -> None:
    """A file with its content sets the values shown."""
    example = re.search(r"```toml\n(.+?)```", options_markdown(), re.DOTALL)
    assert example is not None
    settings = read_back(example[1]).settings
    assert settings.endpoints == ("tcp:12480:interface=127.0.0.1", "unix:/run/tensorferry.sock")
    assert (settings.max_queue_bytes, settings.access_log) == (2**30, True)
