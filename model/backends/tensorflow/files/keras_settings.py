"""
Keep the user's settings of Keras away from this process.

TensorFlow imports Keras, which reads `~/.keras/keras.json` and the environment: a backend that is
not installed there stops every model, a frozen graph included, and another number type or order of
channels changes what a Keras file answers.
"""

import os

#: No folder, and none can be made there: nothing is read, nothing is written.
_NO_FOLDER = f"{os.devnull}/keras"


def ignore_user_keras() -> None:
    """Have Keras take its defaults, on TensorFlow; call before TensorFlow is imported."""
    for name in list(os.environ):
        if name.startswith("KERAS_") or name == "TF_USE_LEGACY_KERAS":
            del os.environ[name]
    os.environ["KERAS_HOME"] = _NO_FOLDER
    os.environ["KERAS_BACKEND"] = "tensorflow"
