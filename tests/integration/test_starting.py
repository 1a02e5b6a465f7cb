"""Commands that print their settings, and a GPU that TensorFlow does not see."""

from pathlib import Path

import pytest

from model.backends.tensorflow.device import gpu_is_installed
from tests.integration.servers import SERVE, TWISTD_N, run_program, with_gpu_listed


@pytest.mark.parametrize("command", [SERVE, TWISTD_N], ids=["serve", "twistd"])
def test_check_config_prints_the_settings_and_exits(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    """As a TOML file that can be read back; no server is started."""
    options = ["--max_batch_size", "16", "--check-config"]
    variables = {"TENSORFERRY_DRAIN_DELAY": "5"}
    checked = run_program(
        [*command, *options], cache_home=tmp_path, folder=tmp_path, variables=variables
    )
    assert (checked.returncode, checked.stderr) == (0, "")
    lines = {line.partition(" ")[0]: line.split() for line in checked.stdout.splitlines()}
    assert lines["max_batch_size"] == ["max_batch_size", "=", "16", "#", "command", "line"]
    assert lines["drain_delay"] == ["drain_delay", "=", "5", "#", "TENSORFERRY_DRAIN_DELAY"]
    assert not list(tmp_path.iterdir())
    config = tmp_path / "ferry.toml"
    config.write_text(checked.stdout)
    options = ["--config", str(config), "--check-config"]
    again = run_program([*command, *options], cache_home=tmp_path, folder=tmp_path)
    values = [line.partition("#")[0] for line in checked.stdout.splitlines()]
    assert [line.partition("#")[0] for line in again.stdout.splitlines()] == values
    assert again.returncode == 0


@pytest.mark.full
@pytest.mark.skipif(gpu_is_installed(), reason="this machine has a GPU")
def test_a_gpu_that_tensorflow_cannot_use_is_an_error(tmp_path: Path) -> None:
    """If nvidia-smi lists a GPU, the server uses the CPU only with --device cpu."""
    command = [*SERVE, "--port", "0"]
    variables = with_gpu_listed(tmp_path)
    refused = run_program(command, cache_home=tmp_path, folder=tmp_path, variables=variables)
    assert refused.returncode == 1
    (line,) = [line for line in refused.stderr.splitlines() if " critical " in line]
    assert "nvidia-smi lists a GPU, but TensorFlow sees no GPU: " in line
    assert line.endswith("; --device cpu serves on the CPU")
    assert "Traceback" not in refused.stderr
