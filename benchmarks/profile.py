"""
`python -m benchmarks.profile`: where the CPU of a request goes, on a server under load.

Starts `benchmarks.peer` as a process of its own, loads it by `tensorferry loadtest`, and samples it
with py-spy, which does not stop it: first every thread that runs, then the one that holds the
interpreter lock.  The kernel tells what each thread used, TensorFlow's own ones too.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from benchmarks.kept import dumped
from benchmarks.machine import this_machine
from benchmarks.parts import Sampled, Samples, account, read_samples
from benchmarks.served import PATIENCE, SETTLING, WORKLOADS, Workload, load_test, serving

SAMPLING = 100  #: samples a second: more would cost the server more than they tell
STARTING = 2.0  #: seconds that py-spy may take to start
TICK = os.sysconf("SC_CLK_TCK")


def measure(data: Path, seconds: float) -> dict[str, Any]:
    """Return the profiles of all workloads, each sampled twice for *seconds*; minutes."""
    return {
        "what": "profile",
        "machine": this_machine(),
        "seconds": seconds,
        "sampling": SAMPLING,
        "workloads": {name: profiled(each, data, seconds) for name, each in WORKLOADS.items()},
    }


def profiled(workload: Workload, data: Path, seconds: float) -> dict[str, Any]:
    """Return the profile of one workload with the files in *data*."""
    with TemporaryDirectory() as name, serving(workload.model, data, Path(name)) as (pid, url):
        folder = Path(name)
        figures = folder / "load.json"
        lasting = ("--duration", str(2 * (seconds + STARTING)))
        command = load_test(
            workload, url, data, figures, "--clients", str(workload.clients), *lasting
        )
        with (folder / "load.log").open("wb") as log:
            load = subprocess.Popen(command, stdout=log, stderr=log)  # noqa: S603 - ours
        try:
            time.sleep(SETTLING)
            sampled = sample(pid, seconds, folder)
            if load.wait(PATIENCE):
                raise click.ClickException((folder / "load.log").read_text())
        finally:
            load.kill()
            load.wait()
        rate = json.loads(figures.read_text())["rate"]
    account_of = account(sampled, rate * sampled.seconds)
    return {"rate": round(rate, 1), "clients": workload.clients, **account_of}


def sample(pid: int, seconds: float, folder: Path) -> Sampled:
    """Return what the process *pid* does in two times *seconds*."""
    before, began = cpu_seconds(pid), time.perf_counter()
    running = spied(pid, seconds, folder)
    # py-spy takes a moment to start: what was used is told for as long as it sampled.
    scale = seconds / (time.perf_counter() - began)
    used = {
        thread: (name, max(0.0, spent - before.get(thread, ("", 0.0))[1]) * scale)
        for thread, (name, spent) in cpu_seconds(pid).items()
    }
    holding = spied(pid, seconds, folder, "--gil")
    return Sampled(seconds, SAMPLING, used, running, holding)


def spied(pid: int, seconds: float, folder: Path, *options: str) -> Mapping[int, Samples]:
    """Return the samples that py-spy takes of *pid* in *seconds*; needs the right to ptrace."""
    output = folder / "samples.txt"
    command = [
        str(Path(sys.executable).with_name("py-spy")), "record", "--pid", str(pid),
        "--duration", str(round(seconds)), "--rate", str(SAMPLING), "--nonblocking", "--threads",
        "--nolineno", "--format", "raw", "--output", str(output), *options,
    ]  # fmt: skip
    spy = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - ours
    if spy.returncode:
        raise click.ClickException(f"py-spy could not sample the server: {spy.stderr}")
    return read_samples(output.read_text(encoding="utf-8").splitlines())


def cpu_seconds(pid: int) -> dict[int, tuple[str, float]]:
    """Return for each thread of *pid* its name for the kernel and the CPU seconds it has used."""
    used = {}
    for file in Path(f"/proc/{pid}/task").glob("*/stat"):
        try:
            head, _, tail = file.read_text().rpartition(")")
        except (FileNotFoundError, ProcessLookupError):
            continue  # the thread has ended since
        user, system = tail.split()[11:13]
        name = head.partition("(")[2]
        used[int(file.parent.name)] = (name, (int(user) + int(system)) / TICK)
    return used


@click.command()
@click.option(
    "--data", required=True, type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The yardstick's data: graph.pb, photo.jpg, tensor.bin and small.bin.",
)  # fmt: skip
@click.option("--seconds", default=10, show_default=True, help="How long each is sampled, twice.")
@click.option("--json", "file", type=click.Path(dir_okay=False, path_type=Path), help="A file.")
def main(data: Path, seconds: int, file: Path | None) -> None:
    """Profile the server under three workloads."""
    text = dumped(measure(data, seconds))
    if file is None:
        click.echo(text, nl=False)
    else:
        file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
