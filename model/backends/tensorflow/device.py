"""
Choose the device: a GPU where there is one, else the CPU; report why a GPU cannot be used.

Imports TensorFlow inside its functions; they may run on any thread.
"""

import ctypes
import logging
import os
import shutil
import subprocess
import sys
from tempfile import gettempdir
from typing import Any

from model import packages
from model.backend import Device, DeviceChoice
from model.backends.tensorflow.keras_settings import ignore_user_keras
from model.backends.tensorflow.quiet_stderr import obey_log_level
from model.errors import ModelError
from model.execution.cores import describe_cpu


def gpu_is_installed() -> bool:
    """Whether `nvidia-smi` lists a GPU; TensorFlow is not imported."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return False
    try:
        answer = subprocess.run(  # noqa: S603 - found on the user's own PATH
            [command, "-L"], capture_output=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.returncode == 0 and b"GPU" in answer.stdout


def quieten_tensorflow(choice: DeviceChoice) -> None:
    """
    Silence TensorFlow's start-up messages; hide the GPUs if *choice* is "cpu".

    Call before TensorFlow is first imported: this sets environment variables.  Keras, which
    TensorFlow imports, gets its defaults instead of the user's settings.
    """
    ignore_user_keras()
    if choice == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    # Without a GPU, TensorFlow's error lines report only missing drivers; real errors are also
    # raised as exceptions.
    without_gpu = choice == "cpu" or not gpu_is_installed()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3" if without_gpu else "1")
    obey_log_level()
    _allow_missing_temporary_folder()
    # Deprecation warnings concern the author of a model, not the operator of a server.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)


def _allow_missing_temporary_folder() -> None:
    """Make TensorFlow importable where no folder for temporary files is writable."""
    try:
        gettempdir()
    except OSError:
        # TensorFlow's test module reads this at import.
        os.environ.setdefault("TEST_TMPDIR", os.curdir)
        # matplotlib needs a temporary folder at import.  None makes that import fail with an
        # ImportError, and then Keras works without matplotlib.
        absent: Any = None
        sys.modules.setdefault("matplotlib", absent)


def choose_device(choice: DeviceChoice) -> Device:
    """
    Return the device for *choice*.

    If TensorFlow sees no GPU, raises `ModelError` for "gpu", and for "auto" on a machine with a
    GPU: serving on the CPU instead would be slow, without any sign of the reason.
    """
    cpu = Device("cpu", describe_cpu())
    if choice == "cpu":
        return cpu
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        details = tf.config.experimental.get_device_details(gpus[0])
        return Device("gpu", f"GPU, {details.get('device_name', gpus[0].name)}")
    if choice == "auto" and not gpu_is_installed():
        return cpu
    seen = "nvidia-smi lists a GPU" if gpu_is_installed() else "--device gpu is set"
    raise ModelError(
        f"{seen}, but TensorFlow sees no GPU: {_why_no_gpu()}; --device cpu serves on the CPU"
    )


def _why_no_gpu() -> str:
    """Return the likeliest reason why TensorFlow sees no GPU."""
    import tensorflow as tf

    if not tf.test.is_built_with_cuda():
        return f"this build of TensorFlow {tf.__version__} has no CUDA support"
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("-1", ""):
        return f"CUDA_VISIBLE_DEVICES is {os.environ['CUDA_VISIBLE_DEVICES']!r}"
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "the driver's library libcuda.so.1 cannot be loaded"
    build = tf.sysconfig.get_build_info()
    return (
        f"its libraries for CUDA {build.get('cuda_version', '?')} and cuDNN "
        f"{build.get('cudnn_version', '?')} cannot be loaded "
        f"({packages.CUDA} installs them)"
    )
