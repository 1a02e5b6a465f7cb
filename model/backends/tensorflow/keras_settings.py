"""
Make Keras ignore the user's settings in this process.

TensorFlow imports Keras, which reads `~/.keras/keras.json` and the environment.  A backend named
there that is not installed makes every load fail, even that of a frozen graph; another number type
or order of channels changes the outputs of a Keras file.
"""

import os

#: A path at which no folder exists or can be made, so that nothing is read or written.
_NO_FOLDER = f"{os.devnull}/keras"


def ignore_user_keras() -> None:
    """Make Keras use its defaults on TensorFlow; call before TensorFlow is imported."""
    for name in list(os.environ):
        if name.startswith("KERAS_") or name == "TF_USE_LEGACY_KERAS":
            del os.environ[name]
    os.environ["KERAS_HOME"] = _NO_FOLDER
    os.environ["KERAS_BACKEND"] = "tensorflow"
