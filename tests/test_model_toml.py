"""The settings of a model: model/repository/model_toml.py."""

from pathlib import Path
from typing import Any

import pytest

from model.errors import ModelError
from model.images.facts import ImageFacts
from model.images.normalisation import ColourOrder
from model.images.preprocessing import Resample
from model.repository.model_toml import ModelFacts, read_model_toml

FULL = """
name = "flowers"
version = "3"
signature = "serving_default"
input = "images"
output = "probabilities"
labels = "etc/output_labels.txt"
top_k = 3

[preprocessing]
height = 224
width = 192
crop = 0.875
resample = "bicubic"
colour_order = "bgr"
mean = [103.939, 116.779, 123]
scale = 0.0078125
scaled_jpeg_decode = true

[feeds]
keep_prob = 1
phase_train = false
"""


def read(folder: Path, text: str | bytes) -> ModelFacts:
    """Return the facts in a file of this *text*."""
    data = text if isinstance(text, bytes) else text.encode()
    folder.joinpath("model.toml").write_bytes(data)
    return read_model_toml(folder)


def refusal(folder: Path, text: str | bytes) -> str:
    """Return the error for a file of this *text*, without the path."""
    with pytest.raises(ModelError) as caught:
        read(folder, text)
    line = str(caught.value)
    assert line.isprintable()
    prefix = f"{folder / 'model.toml'}: "
    assert line.startswith(prefix)
    return line.removeprefix(prefix)


def test_a_folder_without_the_file_has_no_facts(tmp_path: Path) -> None:
    """Like an empty file, and a file with an empty table."""
    nothing = read_model_toml(tmp_path)
    assert nothing == ModelFacts()
    assert nothing.preprocessing == ImageFacts()
    assert read(tmp_path, "") == read(tmp_path, "[preprocessing]\n") == nothing


def test_every_key_is_read(tmp_path: Path) -> None:
    """The path of the labels is relative to the file; one number counts for all channels."""
    assert read(tmp_path, FULL) == ModelFacts(
        name="flowers",
        version="3",
        signature="serving_default",
        input="images",
        output="probabilities",
        labels=tmp_path / "etc/output_labels.txt",
        top_k=3,
        feeds={"keep_prob": 1.0, "phase_train": False},
        preprocessing=ImageFacts(
            height=224,
            width=192,
            crop=0.875,
            resample=Resample.BICUBIC,
            colour_order=ColourOrder.BGR,
            mean=(103.939, 116.779, 123.0),
            scale=(0.0078125, 0.0078125, 0.0078125),
            scaled_jpeg_decode=True,
        ),
    )


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("version = 7", ModelFacts(version="7")),
        ("version = 0", ModelFacts(version="0")),
        ('version = "2.0-rc_1"', ModelFacts(version="2.0-rc_1")),
        ('input = "a b:0"', ModelFacts(input="a b:0")),
        ("\ufefftop_k = 1", ModelFacts(top_k=1)),
        ("top_k = 1\r\n# über\r\n", ModelFacts(top_k=1)),
        ("preprocessing.crop = 1", ModelFacts(preprocessing=ImageFacts(crop=1.0))),
        ("preprocessing.mean = -1", ModelFacts(preprocessing=ImageFacts(mean=(-1.0,) * 3))),
        (
            "preprocessing = { scale = [-1, 2.5, 1e-3], scaled_jpeg_decode = false }",
            ModelFacts(
                preprocessing=ImageFacts(scale=(-1.0, 2.5, 0.001), scaled_jpeg_decode=False)
            ),
        ),
    ],
)
def test_all_spellings_of_toml_are_read(tmp_path: Path, text: str, facts: ModelFacts) -> None:
    """With all syntax of TOML, and with the marks and line ends of editors."""
    assert read(tmp_path, text) == facts


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("topk = 3", "no such key: 'topk'; did you mean top_k?"),
        ("lables = 'a'", "no such key: 'lables'; did you mean labels?"),
        ("heigth = 3", "no such key: 'heigth'; did you mean preprocessing.height?"),
        (
            "[preprocessing]\ncolor_order = 'rgb'",
            "no such key: 'preprocessing.color_order'; did you mean preprocessing.colour_order?",
        ),
        (
            "[preprocessing]\ntop_k = 3",
            "no such key: 'preprocessing.top_k'; did you mean top_k?",
        ),
        ("[preprocess]\ncrop = 1", "no such key: 'preprocess'; did you mean preprocessing?"),
        ("[batching]", "no such key: 'batching'"),
        ('"na\\nme" = "x"', r"no such key: 'na\nme'; did you mean name?"),
    ],
)
def test_an_unknown_key_gets_the_nearest_known_one(tmp_path: Path, text: str, line: str) -> None:
    """From either table, with its full name."""
    assert refusal(tmp_path, text) == line


WHOLE = "a whole number from 1 to 65535"
WORDS = "letters, digits, '.', '_' and '-'"
INSIDE = "the path of a file in this folder, relative and without '..'"

BAD = {
    "name": (f"a name of {WORDS}", ('""', '"."', '".."', '"a/b"', '"ü"', '"a b"', "3", '"a\\n"')),
    "version": (f"a whole number, or a name of {WORDS}", ("-1", "1.0", "true", '""', '"1/2"')),
    "signature": ("the name of a signature", ('""', '" "', '"a\\tb"', "1", '["a"]')),
    "input": ("the name of a tensor or an input", ('""', "0", "true")),
    "output": ("the name of a tensor or an output", ('""', "0", "{}")),
    "labels": (
        INSIDE,
        ('""', '"."', '"/etc/labels.txt"', '"../labels.txt"', '"a/../b"', '"a\\u0000"', "[]"),
    ),
    "top_k": ("a whole number of at least 1", ("0", "-1", "5.0", "true", '"5"')),
    "feeds": (
        "a table of names, each with a number, true or false",
        ("1", "[]", '{ keep_prob = "1" }', "{ keep_prob = nan }", "{ keep_prob = [1] }"),
    ),
    "preprocessing": ("a table", ("1", '"crop"', "[]", "[{ crop = 1 }]")),
    "preprocessing.height": (WHOLE, ("0", "65536", "224.0", "true", '"224"')),
    "preprocessing.width": (WHOLE, ("0", "-1", "1979-05-27")),
    "preprocessing.crop": (
        "a number over 0 and up to 1",
        ("0", "-0.5", "1.01", "nan", "true", '"1"', "[1]"),
    ),
    "preprocessing.resample": (
        "nearest or box or bilinear or hamming or bicubic or lanczos or tf_bilinear",
        ('"cubic"', '"BILINEAR"', "1", "[]"),
    ),
    "preprocessing.colour_order": ("rgb or bgr", ('"RGB"', '"grb"', "true")),
    "preprocessing.mean": (
        "a number, or a list of three",
        ("nan", "inf", "true", '"0"', "[]", "[1, 2]", "[1, 2, 3, 4]", "[1, 2, '3']", "[1, 2, inf]"),
    ),
    "preprocessing.scale": (
        "a number other than 0, or a list of three",
        ("0", "-0.0", "[1, 0, 1]", "-inf", "false", "1" + 400 * "0"),
    ),
    "preprocessing.scaled_jpeg_decode": ("true or false", ("1", '"true"', "[]")),
}


@pytest.mark.parametrize(
    ("key", "expected", "value"),
    [(key, expected, value) for key, (expected, values) in BAD.items() for value in values],
)
def test_a_bad_value_is_refused_with_key_and_expectation(
    tmp_path: Path, key: str, expected: str, value: str
) -> None:
    """In one line, for any value."""
    assert refusal(tmp_path, f"{key} = {value}").startswith(f"{key}: expected {expected}, got ")


@pytest.mark.parametrize(
    ("text", "got"),
    [
        ("top_k = true", "true"),
        ("top_k = 0", "0"),
        ("top_k = '5'", "'5'"),
        ("preprocessing.mean = [1, 2]", "[1, 2]"),
        ("preprocessing.mean = inf", "inf"),
        ('name = "a\\nb"', r"'a\nb'"),
    ],
)
def test_a_bad_value_is_shown(tmp_path: Path, text: str, got: str) -> None:
    """So that the user finds it in the file."""
    assert refusal(tmp_path, text).endswith(f", got {got}")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("top_k = 5\nname flowers", "not TOML: Expected '=' after a key in a key/value pair (at l"),
        ("\n\nname = flowers", "not TOML: Invalid value (at line 3, column 8)"),
        ("top_k = 1\ntop_k = 2", "not TOML: Cannot overwrite a value (at"),
        (b"name = '\xe9'", "not UTF-8 text: byte 8"),
    ],
)
def test_a_file_that_is_not_toml_is_refused_with_the_position(
    tmp_path: Path, text: str | bytes, line: str
) -> None:
    """Where the parser reports it."""
    assert refusal(tmp_path, text).startswith(line)


def test_a_file_that_cannot_be_read_does_not_count_as_absent(tmp_path: Path) -> None:
    """A broken link is an error, too."""
    tmp_path.joinpath("model.toml").symlink_to("absent.toml")
    with pytest.raises(ModelError) as caught:
        read_model_toml(tmp_path)
    assert str(caught.value) == f"{tmp_path}/model.toml: No such file or directory"
    tmp_path.joinpath("model.toml").unlink()
    tmp_path.joinpath("model.toml").mkdir()
    with pytest.raises(ModelError) as caught:
        read_model_toml(tmp_path)
    assert str(caught.value) == f"{tmp_path}/model.toml: Is a directory"


def test_facts_do_not_change() -> None:
    """They are read once, before the model is loaded."""
    facts: Any = ModelFacts()
    with pytest.raises(AttributeError):
        facts.name = "x"
