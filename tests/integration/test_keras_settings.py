"""The user's settings of Keras, in files and in the environment, have no effect."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.full

REPORT = """
from model.backends.tensorflow.device import quieten_tensorflow
quieten_tensorflow("cpu")
import tensorflow, keras, tf_keras
for each in keras.backend, tf_keras.backend:
    print(each.backend(), each.floatx(), each.image_data_format(), each.epsilon())
print(tensorflow.keras.__version__ == keras.__version__)
"""


def test_keras_has_its_defaults_on_tensorflow(tmp_path: Path) -> None:
    """TensorFlow imports Keras: a backend that is not installed would make every load fail."""
    wrong = {
        "backend": "theano",
        "floatx": "float16",
        "image_data_format": "channels_first",
        "epsilon": 0.5,
    }
    folder = tmp_path / ".keras"
    folder.mkdir()
    (folder / "keras.json").write_text(json.dumps(wrong))
    variables = {
        "HOME": str(tmp_path),
        "KERAS_BACKEND": "torch",
        "KERAS_HOME": str(folder),
        "KERAS_MAX_EPOCHS": "few",
        "TF_USE_LEGACY_KERAS": "1",
    }
    ended = subprocess.run(
        [sys.executable, "-c", REPORT],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    one = "tensorflow float32 channels_last 1e-07\n"
    assert ended.stdout == f"{one}{one}True\n"
