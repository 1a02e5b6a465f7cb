"""The choice of the device, with fakes of nvidia-smi and TensorFlow."""

import ctypes
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

from model.backend import Device, DeviceChoice
from model.backends.tensorflow.device import (
    choose_device,
    gpu_is_installed,
    quieten_tensorflow,
)
from model.errors import ModelError

LISTS_ONE = "echo 'GPU 0: NVIDIA H100 (UUID: GPU-1)'"


@dataclass
class FakeTensorFlow:
    """TensorFlow's calls about GPUs; tests/integration makes the same calls to the real one."""

    gpus: list[str] = field(default_factory=list)
    details: dict[str, str] = field(default_factory=dict)
    with_cuda: bool = True
    build_info: dict[str, str] = field(default_factory=dict)
    __version__ = "2.99"

    def __post_init__(self) -> None:
        self.config = SimpleNamespace(
            list_physical_devices=self._list,
            experimental=SimpleNamespace(get_device_details=lambda _: self.details),
        )
        self.test = SimpleNamespace(is_built_with_cuda=lambda: self.with_cuda)
        self.sysconfig = SimpleNamespace(get_build_info=lambda: self.build_info)

    def _list(self, kind: str) -> list[SimpleNamespace]:
        assert kind == "GPU"
        return [SimpleNamespace(name=name) for name in self.gpus]


class Machine:
    """A machine without GPUs, with the PATH, environment and libraries that the test sets."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        self._monkeypatch = monkeypatch
        for name in ("CUDA_VISIBLE_DEVICES", "TF_CPP_MIN_LOG_LEVEL"):
            monkeypatch.setenv(name, "restored afterwards, whatever the code sets")
            monkeypatch.delenv(name)
        monkeypatch.setenv("PATH", str(folder))
        monkeypatch.setitem(sys.modules, "tensorflow", None)
        monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))

    def nvidia_smi(self, script: str | None) -> Path:
        """Put the command on the PATH, made of *script*; None removes it."""
        path = self._folder / "nvidia-smi"
        if script is not None:
            path.write_text(f'#!/bin/sh\n[ "$*" = -L ] || exit 3\n{script}\n')
            path.chmod(0o755)
        return path

    def tensorflow(self, fake: FakeTensorFlow) -> None:
        """Put *fake* in the place of TensorFlow."""
        self._monkeypatch.setitem(sys.modules, "tensorflow", fake)

    def visible(self, devices: str | None) -> None:
        """Set the GPUs that CUDA may show, None for all."""
        if devices is not None:
            self._monkeypatch.setenv("CUDA_VISIBLE_DEVICES", devices)

    def driver(self, *, loads: bool) -> None:
        """Let the driver's library load, or not."""

        def load(name: str) -> None:
            assert name == "libcuda.so.1"
            if not loads:
                raise OSError("cannot open shared object file")

        self._monkeypatch.setattr(ctypes, "CDLL", load)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine for one test."""
    return Machine(tmp_path, monkeypatch)


@pytest.mark.usefixtures("machine")
def test_no_command_means_no_gpu() -> None:
    """Nothing is run."""
    assert not gpu_is_installed()


@pytest.mark.parametrize(
    ("script", "installed"),
    [
        (LISTS_ONE, True),
        ("echo 'No devices were found'", False),
        ("exit 0", False),
        ("echo 'NVIDIA-SMI has failed'; exit 9", False),
        ("echo 'GPU 0: lost'; exit 15", False),
        ("echo 'GPU access blocked' >&2; exit 0", False),
    ],
)
def test_a_gpu_is_installed_where_the_command_lists_one(
    machine: Machine, script: str, *, installed: bool
) -> None:
    """It must also exit with 0: it fails where the driver fails."""
    machine.nvidia_smi(script)
    assert gpu_is_installed() is installed


def test_a_command_that_cannot_be_run_lists_none(machine: Machine) -> None:
    """Such as one that was built for another machine."""
    machine.nvidia_smi("").write_bytes(b"\x7fELF of another machine")
    assert not gpu_is_installed()


def test_a_command_that_does_not_end_lists_none(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with a blocked driver; the limit is 20 seconds."""
    path = machine.nvidia_smi(LISTS_ONE)
    asked: list[tuple[object, object]] = []

    def hang(command: list[str], *, capture_output: bool, timeout: float, check: bool) -> None:
        assert (capture_output, check) == (True, False)
        asked.append((command, timeout))
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(subprocess, "run", hang)
    assert not gpu_is_installed()
    assert asked == [([str(path), "-L"], 20)]


@pytest.mark.parametrize(
    ("choice", "script", "visible", "level"),
    [
        ("cpu", None, "-1", "3"),
        ("cpu", LISTS_ONE, "-1", "3"),
        ("auto", None, None, "3"),
        ("auto", LISTS_ONE, None, "1"),
        ("gpu", None, None, "3"),
        ("gpu", LISTS_ONE, None, "1"),
    ],
)
def test_only_the_cpu_alone_hides_the_gpus(
    machine: Machine,
    choice: DeviceChoice,
    script: str | None,
    visible: str | None,
    level: str,
) -> None:
    """A machine may have a GPU without nvidia-smi; without a GPU, error lines are irrelevant."""
    machine.nvidia_smi(script)
    quieten_tensorflow(choice)
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == visible
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == level


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("choice", ["auto", "gpu"])
def test_what_the_user_set_stays(monkeypatch: pytest.MonkeyPatch, choice: DeviceChoice) -> None:
    """Both which GPU to use and how much to log."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2")
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    quieten_tensorflow(choice)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "2"
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "0"


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(
    ("cores", "words"),
    [({0}, "CPU, 1 core"), ({0, 5}, "CPU, 2 cores"), (set(range(16)), "CPU, 16 cores")],
)
def test_the_cpu_is_described_by_the_cores_that_may_be_used(
    monkeypatch: pytest.MonkeyPatch, cores: set[int], words: str
) -> None:
    """TensorFlow is not even imported for it."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: cores)
    monkeypatch.setattr("model.execution.cores._processor_name", lambda: "CPU")
    assert choose_device("cpu") == Device("cpu", words)


@pytest.mark.parametrize("choice", ["auto", "gpu"])
@pytest.mark.parametrize(
    ("details", "words"),
    [
        ({"device_name": "NVIDIA H100", "compute_capability": "9"}, "GPU, NVIDIA H100"),
        ({}, "GPU, /physical_device:GPU:0"),
    ],
)
def test_a_gpu_that_tensorflow_sees_is_used(
    machine: Machine,
    choice: DeviceChoice,
    details: dict[str, str],
    words: str,
) -> None:
    """The first one, by the name of the product, and whether or not nvidia-smi is there."""
    gpus = ["/physical_device:GPU:0", "/physical_device:GPU:1"]
    machine.tensorflow(FakeTensorFlow(gpus, details))
    assert choose_device(choice) == Device("gpu", words)


def test_the_cpu_serves_where_no_gpu_is_installed(machine: Machine) -> None:
    """And none was asked for."""
    machine.tensorflow(FakeTensorFlow())
    assert choose_device("auto").kind == "cpu"


@dataclass(frozen=True)
class Unseen:
    """Why TensorFlow sees no GPU, and the text of the error."""

    reason: str
    fake: FakeTensorFlow = field(default_factory=FakeTensorFlow)
    visible: str | None = None
    driver_loads: bool = True


UNSEEN = {
    "no CUDA build": Unseen(
        "this build of TensorFlow 2.99 has no CUDA support", FakeTensorFlow(with_cuda=False)
    ),
    "hidden": Unseen("CUDA_VISIBLE_DEVICES is '-1'", visible="-1"),
    "hidden by an empty list": Unseen("CUDA_VISIBLE_DEVICES is ''", visible=""),
    "no driver": Unseen("the driver's library libcuda.so.1 cannot be loaded", driver_loads=False),
    "no libraries": Unseen(
        "its libraries for CUDA 12.5.1 and cuDNN 9 cannot be loaded "
        "(pip install 'tensorflow[and-cuda]' nvidia-ml-py installs them)",
        FakeTensorFlow(build_info={"cuda_version": "12.5.1", "cudnn_version": "9"}),
        visible="0",
    ),
    "no libraries, nor which": Unseen(
        "its libraries for CUDA ? and cuDNN ? cannot be loaded "
        "(pip install 'tensorflow[and-cuda]' nvidia-ml-py installs them)"
    ),
}


@pytest.mark.parametrize("case", list(UNSEEN.values()), ids=list(UNSEEN))
@pytest.mark.parametrize(
    ("choice", "script", "seen"),
    [
        ("auto", LISTS_ONE, "nvidia-smi lists a GPU"),
        ("gpu", LISTS_ONE, "nvidia-smi lists a GPU"),
        ("gpu", None, "--device gpu is set"),
    ],
)
def test_a_gpu_that_tensorflow_does_not_see_is_an_error_of_one_line(
    machine: Machine, case: Unseen, choice: DeviceChoice, script: str | None, seen: str
) -> None:
    """It states what was expected, the likeliest reason, and how to serve on the CPU."""
    machine.nvidia_smi(script)
    machine.visible(case.visible)
    machine.driver(loads=case.driver_loads)
    machine.tensorflow(case.fake)
    with pytest.raises(ModelError) as caught:
        choose_device(choice)
    assert str(caught.value) == (
        f"{seen}, but TensorFlow sees no GPU: {case.reason}; --device cpu serves on the CPU"
    )
