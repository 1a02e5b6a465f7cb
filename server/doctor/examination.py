"""
The list of all checks, in the order in which they are made and reported.

`examine` makes them for `tensorferry doctor`; `explain` makes the quick ones after a failed start.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from functools import cached_property

from server.doctor import (
    addresses,
    clocks,
    memory,
    model_files,
    nvidia,
    packages,
    processor,
    registries,
    storage,
    tensorflow_import,
)
from server.doctor.finding import Finding, Level, fault, hint, ok
from server.doctor.machine import Machine
from server.settings.table import Device, Settings

SETTINGS = "settings"


class Subject:
    """
    What is examined: a machine, and the settings of one server, or the error in them.

    Facts that several checks use are read once.  If *quick*, no program is run.  A *worker* does
    not bind its addresses itself: its supervisor has them.
    """

    def __init__(
        self,
        machine: Machine,
        settings: Settings | None,
        error: str = "",
        *,
        quick: bool = False,
        worker: bool = False,
    ) -> None:
        self.machine = machine
        self.settings = settings  #: None: they could not be read
        self.error = error
        self.quick = quick
        self.worker = worker

    @property
    def device(self) -> Device | None:
        """The device of the settings."""
        return None if self.settings is None else self.settings.device

    @cached_property
    def packages(self) -> packages.PackageFacts:
        """The installed packages."""
        return packages.read_packages(self.machine)

    @cached_property
    def driver(self) -> nvidia.DriverFacts:
        """The signs of a GPU and its driver."""
        return nvidia.read_driver(self.machine, quick=self.quick)

    @cached_property
    def imported(self) -> tensorflow_import.ImportFacts:
        """How the import of TensorFlow ended."""
        return tensorflow_import.read_import(self.machine, self.device, self.driver)

    @cached_property
    def cache(self) -> storage.CacheFacts:
        """The cache folder."""
        return storage.read_cache(self.machine)

    @cached_property
    def model(self) -> model_files.ModelFacts | None:
        """The model of the settings, if these and files of models could be read."""
        if self.settings is None or self.packages.shadows:
            return None
        return model_files.read_model(self.settings, self.packages.installed)


@dataclass(frozen=True, slots=True)
class Check:
    """One check: its name in reports, what it covers, and how it is made."""

    name: str
    covers: str  #: in words, for docs/doctor.md
    make: Callable[[Subject], Finding | list[Finding]]
    after: tuple[str, ...] = ()  #: it is left out if one of these finds a fault
    quick: bool = True  #: whether it is also made after a failed start


def _settings(subject: Subject) -> Finding:
    if subject.settings is None:
        return fault(
            SETTINGS,
            subject.error,
            "correct this setting; docs/options.md and tensorferry serve --help list all",
        )
    changed = sum(getattr(subject.settings, it.name) != it.default for it in fields(Settings))
    return ok(SETTINGS, f"{changed} set, the others have their defaults")


def _memory(subject: Subject) -> Finding:
    size = 0 if subject.model is None else subject.model.size
    return memory.check_memory(memory.read_memory(subject.machine), size)


def _cache(subject: Subject) -> Finding:
    model = subject.model
    needs_model = model is not None and model.is_default
    return storage.check_cache(subject.cache, needs_model)


def _temporary(subject: Subject) -> Finding:
    keras_size = 0 if subject.model is None else subject.model.keras_size
    return storage.check_temporary(storage.read_temporary(subject.machine), keras_size)


def _model(subject: Subject) -> list[Finding]:
    if subject.model is None:
        return []
    return [model_files.check_model(subject.model, subject.cache.has_model)]


def _listen(subject: Subject) -> list[Finding]:
    if subject.settings is None or subject.worker:
        return []
    option = "--listen" if subject.settings.port is None else "--port"
    named = [(option, it) for it in subject.settings.endpoints]
    if subject.settings.admin_listen is not None:
        named.append(("--admin-listen", subject.settings.admin_listen))
    return [
        addresses.check_listening(addresses.read_address(subject.machine, description), option)
        for option, description in named
    ]


def _announce(subject: Subject) -> list[Finding]:
    if subject.settings is None:
        return []
    announce = subject.settings.announce
    facts = None if announce is None else registries.read_registry(subject.machine, announce)
    return [registries.check_registry(facts)]


def _import(subject: Subject) -> list[Finding]:
    # Another module in the place of a package is the cause, whatever the import raises.
    return [] if subject.packages.shadows else [tensorflow_import.check_import(subject.imported)]


def _gpu(subject: Subject) -> list[Finding]:
    if subject.packages.shadows:
        return []
    facts = tensorflow_import.gpu_facts(
        subject.machine, subject.driver, subject.imported, subject.packages
    )
    return [tensorflow_import.check_gpu(facts, subject.device)]


#: In the order in which they are made; a check comes after those that make it superfluous.
CHECKS = (
    Check(
        packages.PYTHON,
        "Python is of a version for which this one is made",
        lambda it: packages.check_python(it.packages),
    ),
    Check(
        packages.PACKAGES,
        "the required packages are installed, in the versions of `pyproject.toml`, and imported "
        "from there",
        lambda it: packages.check_packages(it.packages),
    ),
    Check(
        packages.TENSORFLOW,
        "one wheel of TensorFlow is installed, and not two in the same folder, in a version of "
        "`pyproject.toml`",
        lambda it: packages.check_tensorflow(it.packages),
    ),
    Check(
        packages.GLIBC,
        "the C library is as new as the wheel of TensorFlow requires",
        lambda it: packages.check_glibc(it.packages, packages.read_glibc()),
    ),
    Check(
        processor.CPU,
        "the CPU has AVX, without which TensorFlow does not run, and AVX2 and FMA; oneDNN is on",
        lambda it: processor.check_cpu(processor.read_cpu(it.machine)),
    ),
    Check(
        processor.CORES,
        "control groups (v1 and v2) leave at least one core of CPU time",
        lambda it: processor.check_cores(processor.read_cores(it.machine)),
    ),
    Check(
        memory.MEMORY,
        "the machine, and the limits of control groups and of the address space (`ulimit -v`), "
        "have memory for TensorFlow and the model",
        _memory,
    ),
    Check(
        storage.DESCRIPTORS,
        "enough file descriptors are allowed (`ulimit -n`) for the server and its connections",
        lambda it: storage.check_descriptors(storage.read_descriptors(it.machine)),
    ),
    Check(
        storage.CACHE,
        "the cache folder can be written, and has space",
        _cache,
    ),
    Check(
        storage.TEMPORARY,
        "a folder for temporary files can be written, and has space for a Keras model",
        _temporary,
    ),
    Check(
        clocks.CLOCK,
        "the wall clock is in a plausible year and synchronised",
        lambda it: clocks.check_clock(clocks.read_clock(it.machine, quick=it.quick)),
    ),
    Check(
        SETTINGS,
        "options, variables and the configuration file are correct, and the files that they name "
        "can be read",
        _settings,
    ),
    Check(
        addresses.LISTEN,
        "each address is free and permitted; otherwise, which process has it",
        _listen,
    ),
    Check(
        registries.ANNOUNCE,
        "each host of the registry of `--announce` accepts connections",
        _announce,
        quick=False,  # a start does not need it
    ),
    Check(
        model_files.MODEL,
        "there is a model of a known kind at the path, by names and the heads of files alone, or "
        "the default model can be made",
        _model,
        quick=False,  # the start has just looked for it, and its reason states what it found
    ),
    Check(
        nvidia.DRIVER,
        "the NVIDIA driver runs, shows its GPUs here, and is new enough for the CUDA of this "
        "TensorFlow",
        lambda it: nvidia.check_driver(it.driver, it.packages.cuda, it.device),
    ),
    Check(
        tensorflow_import.IMPORT,
        "TensorFlow can be imported, in a process of its own",
        _import,
        after=(packages.TENSORFLOW, packages.GLIBC, processor.CPU),
        quick=False,
    ),
    Check(
        tensorflow_import.GPU,
        "TensorFlow sees the GPUs that the driver shows; the libraries of CUDA and cuDNN are there "
        "and can be loaded",
        _gpu,
        after=(tensorflow_import.IMPORT, packages.TENSORFLOW, packages.GLIBC, processor.CPU,
               nvidia.DRIVER),
        quick=False,
    ),
)  # fmt: skip


def examine(subject: Subject) -> Iterator[Finding]:
    """
    Yield the findings of each check, in order; only those of quick checks if *subject* is quick.

    Blocks on the disk and on programs.  A check that fails on a machine of an unknown form is a
    hint, and the others are still made.
    """
    faults: set[str] = set()
    for check in CHECKS:
        if (subject.quick and not check.quick) or not faults.isdisjoint(check.after):
            continue
        try:
            made = check.make(subject)
        except Exception as error:  # noqa: BLE001 - one check must not prevent the others
            made = hint(
                check.name,
                f"could not be examined: {type(error).__name__}: {error}",
                "report this machine as a bug of tensorferry doctor",
            )
        for finding in made if isinstance(made, list) else [made]:
            if finding.level is Level.FAULT:
                faults.add(check.name)
            yield finding


def explain(
    reason: str, settings: Settings, machine: Machine | None = None, *, worker: bool = False
) -> list[str]:
    """
    Return a line for each warning and fault that may explain a failed start, beside its *reason*.

    Empty if there is none.  Takes less than a second, because it runs no program.  What *reason*
    states already is left out, and in a *worker* the addresses, which its supervisor has bound.
    """
    subject = Subject(machine or Machine(), settings, quick=True, worker=worker)
    return [
        f"{it.check}: {it.remedy}" if it.found in reason else f"{it.check}: {it.found}; {it.remedy}"
        for it in examine(subject)
        if it.is_serious and it.remedy not in reason
    ]


def checks_markdown() -> str:
    """Return the table of all checks for docs/doctor.md."""
    rows = [f"| `{it.name}` | {it.covers} | {'yes' if it.quick else ''} |" for it in CHECKS]
    return "\n".join(
        ["| Check | It finds out whether | After a failed start |", "|---|---|---|", *rows]
    )
