"""
Check the NVIDIA driver: whether it runs, shows its GPUs here, and suits TensorFlow's CUDA.
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path

from server.doctor.finding import Finding, Level, fault, ok, warning
from server.doctor.machine import Answer, Machine, read_text
from server.settings.table import Device

DRIVER = "driver"

#: The oldest driver for Linux that runs programs of each major version of CUDA: the table of
#: "Minor Version Compatibility" in NVIDIA's guide "CUDA Compatibility",
#: https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html
MIN_DRIVERS = {11: (450, 80, 2), 12: (525,), 13: (580,)}

#: nvidia-smi takes seconds if it has to start the driver.
MAX_SMI_SECONDS = 20.0

_VENDOR, _DISPLAY_CLASS = "0x10de", "0x03"  # in /sys/bus/pci
_ON_THE_CPU = "--device cpu serves on the CPU"
_GIVE_GPUS = (
    "start the container with its GPUs: docker run --gpus all (with nvidia-container-toolkit), "
    "Kubernetes resources.limits nvidia.com/gpu"
)


@dataclass(frozen=True, slots=True)
class DriverFacts:
    """The signs of a GPU and of its driver."""

    smi: Answer | None  #: of nvidia-smi; None if it is not installed, or was not run
    loaded: str  #: version of the loaded kernel module; empty without one
    nodes: int  #: count of the devices /dev/nvidia0, ...
    cards: int  #: count of NVIDIA's GPUs on the PCI bus
    in_container: bool

    @property
    def gpus(self) -> tuple[str, ...]:
        """The names of the GPUs that nvidia-smi lists."""
        if self.smi is None or self.smi.code != 0:
            return ()
        return tuple(name for _, name in _listed(self.smi.output))

    @property
    def shown(self) -> str:
        """The GPUs that the driver shows to this process, in words; empty without any."""
        if self.gpus:
            return ", ".join(self.gpus)
        works = self.smi is None and self.loaded and self.nodes
        return f"{self.nodes} device{'s' if self.nodes > 1 else ''} /dev/nvidia*" if works else ""

    @property
    def version(self) -> str:
        """The version of the driver; empty if it is unknown."""
        listed = _listed(self.smi.output) if self.smi is not None and self.smi.code == 0 else []
        return listed[0][0] if listed else self.loaded


def read_driver(machine: Machine, *, quick: bool) -> DriverFacts:
    """Return the facts about the driver; if *quick*, without nvidia-smi."""
    root = machine.root
    module = re.search(r"\b(\d+\.\d+(\.\d+)?)\b", read_text(root / "proc/driver/nvidia/version"))
    query = ("--query-gpu=driver_version,name", "--format=csv,noheader")
    return DriverFacts(
        smi=None if quick else machine.run("nvidia-smi", *query, seconds=MAX_SMI_SECONDS),
        loaded=module[1] if module else "",
        nodes=len(list((root / "dev").glob("nvidia[0-9]*"))),
        cards=sum(map(_is_card, (root / "sys/bus/pci/devices").glob("*"))),
        in_container=machine.in_container,
    )


def check_driver(facts: DriverFacts, cuda: tuple[int, ...], device: Device | None) -> Finding:
    """
    Decide whether a GPU can be used by a TensorFlow that is made for the version *cuda* of CUDA.

    *device* is that of the settings; None chooses a GPU if there is one.
    """
    if device == "cpu":
        return ok(DRIVER, "not needed with --device cpu")
    finding = _driver_problem(facts) or _version_problem(facts, cuda)
    if finding is not None:
        # A GPU that is required, and not only present, is a fault.
        return replace(finding, level=Level.FAULT) if device == "gpu" else finding
    if facts.shown:
        return ok(DRIVER, f"{facts.version}: {facts.shown}")
    if device == "gpu":
        return fault(
            DRIVER,
            "no NVIDIA GPU is found, and --device gpu is set",
            _GIVE_GPUS if facts.in_container else _ON_THE_CPU,
        )
    return ok(DRIVER, "no NVIDIA GPU; the CPU serves")


def _driver_problem(facts: DriverFacts) -> Finding | None:
    """Return why the driver does not run or shows no GPU; None if it works or nothing needs it."""
    if facts.gpus:
        return None
    if facts.smi is not None:
        return _smi_problem(facts.smi)
    if facts.loaded:
        return None if facts.nodes else _no_node(facts)
    if facts.nodes:
        return fault(
            DRIVER,
            f"there are {facts.nodes} devices /dev/nvidia*, but the driver is not loaded",
            f"sudo modprobe nvidia, or install the driver again; {_ON_THE_CPU}",
        )
    return _unused_card(facts) if facts.cards else None


def _no_node(facts: DriverFacts) -> Finding:
    """Return the finding for a loaded driver without a device in /dev."""
    if facts.in_container:
        return fault(
            DRIVER,
            f"driver {facts.loaded} is loaded, but the container has no device /dev/nvidia*",
            f"{_GIVE_GPUS}; {_ON_THE_CPU}",
        )
    return fault(
        DRIVER,
        f"driver {facts.loaded} is loaded, but there is no device /dev/nvidia*",
        f"sudo nvidia-modprobe -u -c=0; {_ON_THE_CPU}",
    )


def _unused_card(facts: DriverFacts) -> Finding:
    """Return the finding for a GPU on the PCI bus without a driver."""
    if facts.in_container:
        return warning(DRIVER, "the GPU of the machine is not in the container", _GIVE_GPUS)
    return warning(
        DRIVER,
        "there is an NVIDIA GPU without a driver: the CPU serves",
        "install the driver (on Ubuntu: sudo ubuntu-drivers install) and restart",
    )


def _smi_problem(smi: Answer) -> Finding:
    """Return the finding for *smi*, an answer without a GPU."""
    text = " ".join((smi.output + smi.errors).split())
    if smi.code is None:
        return fault(
            DRIVER,
            f"nvidia-smi does not end within {MAX_SMI_SECONDS:g} s",
            f"restart the machine, and see sudo dmesg | grep -i nvrm; {_ON_THE_CPU}",
        )
    if "Driver/library version mismatch" in text:
        return fault(
            DRIVER,
            "the loaded driver and its libraries have different versions, as after an update",
            f"restart the machine; {_ON_THE_CPU}",
        )
    if "couldn't communicate with the NVIDIA driver" in text:
        return fault(
            DRIVER,
            "nvidia-smi cannot communicate with the NVIDIA driver",
            "sudo modprobe nvidia; after an update of the kernel, sudo dkms autoinstall; "
            f"{_ON_THE_CPU}",
        )
    return fault(
        DRIVER,
        f"nvidia-smi lists no GPU (exit code {smi.code}): {text[:200] or 'no output'}",
        f"see sudo dmesg | grep -i nvrm; {_ON_THE_CPU}",
    )


def _version_problem(facts: DriverFacts, cuda: tuple[int, ...]) -> Finding | None:
    """Return the finding for a driver that is too old for *cuda*; None if it is not."""
    needed = MIN_DRIVERS.get(cuda[0]) if cuda else None
    version = tuple(map(int, re.findall(r"\d+", facts.version)))
    if needed is None or not version or version >= needed:
        return None
    return fault(
        DRIVER,
        f"driver {facts.version} is too old for CUDA {'.'.join(map(str, cuda))} of this "
        f"TensorFlow, which needs {_dotted(needed)} or later",
        f"install driver {needed[0]} or later (on Ubuntu: sudo ubuntu-drivers install "
        f"nvidia:{needed[0]}) and restart; {_ON_THE_CPU}",
    )


def _listed(output: str) -> list[tuple[str, str]]:
    """Return (version, name) for each GPU in the *output* of nvidia-smi."""
    found = re.findall(r"^(\d+\.[\d.]+), (.+)$", output, re.MULTILINE)
    return [(version, name.strip()) for version, name in found]


def _is_card(device: Path) -> bool:
    is_display = read_text(device / "class").startswith(_DISPLAY_CLASS)
    return is_display and read_text(device / "vendor").strip() == _VENDOR


def _dotted(version: tuple[int, ...]) -> str:
    """Return *version* as NVIDIA writes it, such as 525.60.13."""
    return ".".join([str(version[0]), *(f"{part:02}" for part in version[1:])])
