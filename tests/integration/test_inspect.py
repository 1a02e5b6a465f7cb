"""`tensorferry inspect`: its output as text and as JSON."""

import json
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner

from scripts.inspect_model import inspect_model
from tests.integration.saved_models import SAVED_MODELS
from tests.integration.saving import save_functions
from tests.integration.servers import TENSORFERRY, reasons, run_program

pytestmark = pytest.mark.full

OUTPUT = """\
images: 4 x 5 RGB, bilinear, as (pixel - 0) * 0.00392157
3 labels: red, ... blue

serving_default (default)
  takes    image: float32[?, 4, 5, 3]
  gives    scores: float32[?, 3]
  batches  yes
  try      curl -d '{"inputs": {"image": FLOATS}}' localhost:12480

serving_default:pixels
  takes    image: uint8[?, 4, 5, 3]
  gives    scores: float32[?, 3]
  batches  yes
  try      curl -F data=@photo.jpg localhost:12480
  try      curl -d '{"inputs": {"image": BYTES}, "signature_name": "serving_default:pixels"}' \
localhost:12480
"""


def test_the_text_has_inputs_outputs_and_a_sample_request(tmp_path: Path) -> None:
    """Its size first, then line by line."""
    model = tmp_path / "model"
    SAVED_MODELS["float images"].write(model)
    (model / "model.toml").write_text('labels = "names.txt"')
    (model / "names.txt").write_text("red\ngreen\nblue\n")
    result = CliRunner().invoke(inspect_model, [str(model)])
    assert (result.exit_code, result.exception) == (0, None)
    first, _, others = result.output.partition("\n")
    assert first == f"{model}: SavedModel, {size_of(model) / 1e3:.1f} kB"
    floats, integers = (json.dumps([[[[zero] * 3] * 5] * 4]) for zero in (0.0, 0))
    warning, _, others = others.partition("\n")
    assert warning.startswith("warning: images are fed as 0..1, a guess")
    expected = OUTPUT.replace("\\\n", "").replace("FLOATS", floats).replace("BYTES", integers)
    assert others == expected


def test_no_name_breaks_out_of_its_line(tmp_path: Path) -> None:
    """A file may have any name, which could otherwise imitate other lines."""

    def double(x: Any) -> dict[str, Any]:
        return {"y": x * 2}

    name = "a\n  batches  yes\x1b[2J"
    model = tmp_path / "model"
    save_functions(model, {name: (double, {"x": ("float32", (3,))})})
    result = CliRunner().invoke(inspect_model, [str(model)])
    assert result.exit_code == 0
    assert "\na\\n  batches  yes\\x1b[2J (default)\n" in result.output
    assert "\x1b" not in result.output


def size_of(folder: Path) -> int:
    """Return the bytes of all files in *folder*."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_json_has_the_same_facts(tmp_path: Path) -> None:
    """Alone on standard output, without warnings of TensorFlow."""
    SAVED_MODELS["several signatures"].write(tmp_path / "model")
    command = [*TENSORFERRY, "inspect", "model", "--signature=sums", "--json"]
    result = run_program(command, cache_home=tmp_path, folder=tmp_path)
    assert (result.returncode, reasons(result.stderr)) == (0, [])
    shown = orjson.loads(result.stdout)
    assert (shown["default_signature"], list(shown["signatures"])) == (
        "sums",
        ["sums", "serving_default"],
    )
