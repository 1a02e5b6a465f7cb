"""
`python -m benchmarks.profile`: the CPU of a request by part of the server, under load.

Starts `benchmarks.peer` as a process of its own, loads it with `tensorferry loadtest`, and samples
it twice with py-spy, which does not pause it: first every running thread, then the thread that
holds the interpreter lock.  The CPU of each thread, TensorFlow's included, comes from the kernel.
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

from benchmarks.kept import json_option, stamped, write
from benchmarks.parts import Sampled, Samples, account, read_samples
from benchmarks.served import (
    PATIENCE,
    SETTLING,
    WORKLOADS,
    Workload,
    data_option,
    load_test,
    serving,
)
from benchmarks.tables import table

SAMPLING = 100  #: samples a second: more would cost the server too much
STARTING = 2.0  #: seconds that py-spy may take to start
TICK = os.sysconf("SC_CLK_TCK")

#: Parts with a smaller share than this are not printed.
SMALL = 0.01


def profiled(workload: Workload, data: Path, seconds: float) -> dict[str, Any]:
    """
    Start the server, load it with *workload*, and return its profile; *data* has the files.

    The server is sampled twice, for *seconds* each: all running threads, then the holder of the
    interpreter lock.
    """
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
    """
    Sample the process *pid* twice, for *seconds* each.

    First its running threads are sampled, then the thread that holds the interpreter lock.
    *folder* is for the file that py-spy writes.
    """
    before, began = cpu_seconds(pid), time.perf_counter()
    running = spied(pid, seconds, folder)
    # py-spy takes a moment to start: scale the CPU to the time in which it sampled.
    scale = seconds / (time.perf_counter() - began)
    used = {
        thread: (name, max(0.0, spent - before.get(thread, ("", 0.0))[1]) * scale)
        for thread, (name, spent) in cpu_seconds(pid).items()
    }
    holding = spied(pid, seconds, folder, "--gil")
    return Sampled(seconds, SAMPLING, used, running, holding)


def spied(pid: int, seconds: float, folder: Path, *options: str) -> Mapping[int, Samples]:
    """
    Run py-spy on the process *pid* for *seconds*, and return the samples by thread.

    Needs the right to ptrace; raises `click.ClickException` if py-spy fails.
    """
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
    """Return, by thread id, the name in the kernel and the CPU seconds of each thread of *pid*."""
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


def report(workloads: Mapping[str, Mapping[str, Any]]) -> str:
    """
    Return, for each workload, a line of totals, a table of the threads and a table of the parts.
    """
    texts = []
    for name, each in workloads.items():
        cores = sum(thread["cores"] for thread in each["threads"].values())
        head = (
            f"{name}: {each['clients']} clients, {each['rate']:,} answers/s,"
            f" {each['cpu_us_per_request']:,} us of CPU each; {cores:.2f} cores are used, and the"
            f" interpreter lock is held {each['gil']:.0%} of the time"
        )
        texts += [
            head,
            table([{"thread": thread, **its} for thread, its in each["threads"].items()]),
            table([part for part in each["parts"] if part["share"] >= SMALL]),
        ]
    return "\n\n".join(texts)


@click.command()
@data_option
@click.option("--workloads", default="ABD", show_default=True, help="Letters of workloads.")
@click.option("--seconds", default=10, show_default=True, help="Of sampling, twice a workload.")
@json_option
def main(data: Path, workloads: str, seconds: int, file: Path | None) -> None:
    """Profile the server under load: A is the null model, B a JPEG, D a tensor."""
    if unknown := set(workloads) - set(WORKLOADS):
        raise click.UsageError(f"--workloads: no workload {', '.join(sorted(unknown))}")
    stamp = stamped("profile", {"seconds": seconds, "sampling": SAMPLING})
    found = {name: profiled(WORKLOADS[name], data, seconds) for name in workloads}
    click.echo(report(found))
    if file is not None:
        write(file, {**stamp, "workloads": found})


if __name__ == "__main__":
    main()
