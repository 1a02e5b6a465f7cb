"""
`python -m benchmarks.swap_memory`: the memory of a server after few and after many swaps.

Beside the server: a control that never frees a model, which the check must flag; and what
TensorFlow alone keeps if it loads and closes the same SavedModel as often in a plain process.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from benchmarks.kept import json_option, stamped, write
from benchmarks.repositories import (
    NAME,
    ask,
    make_models,
    place,
    resident_mb,
    wait_until_alone,
)
from benchmarks.saved_mlp import INPUTS
from benchmarks.served import serving_models
from benchmarks.tables import table
from model.backends.tensorflow.device import quieten_tensorflow
from model.execution.memory import give_back_memory

FEW = 2  #: swaps after which the memory is compared with that after all swaps
BAR = 0.05  #: the most that the memory may grow, relative to that after `FEW` swaps
SETTLING = 1.0  #: seconds from the end of an unload until the memory is read
REQUESTS = 20  #: to each version

#: The servers: the module that has the command `serve`, by name.
SERVERS = {"server": "scripts.cli", "leaking control": "benchmarks.leaking_server"}


def swapped(module: str, made: Path, folder: Path, swaps: int) -> list[float]:
    """
    Return the MB that a server, the command of *module*, has in memory after each swap.

    All versions have the files *made*; the first of *swaps* + 1 is loaded at the start.
    """
    root = folder / "models"
    (root / NAME).mkdir(parents=True)
    place(made, root / NAME / "1")
    seen = []
    with serving_models(root, folder, module=module) as (pid, url):
        for version in range(2, swaps + 2):
            place(made, root / NAME / str(version))
            wait_until_alone(url, version)
            for _ in range(REQUESTS):
                ask(url)
            time.sleep(SETTLING)
            seen.append(resident_mb(pid))
    return seen


def loaded_alone(made: Path, loads: int) -> list[float]:
    """Return the MB that this process has in memory after each load and close of *made*."""
    quieten_tensorflow("cpu")
    import tensorflow.compat.v1 as tf  # noqa: PLC0415 - it takes seconds, and must be silenced first

    seen = []
    for _ in range(loads):
        with tf.Graph().as_default(), tf.Session() as session:
            loaded = tf.saved_model.loader.load(session, ["serve"], str(made))
            signature = loaded.signature_def["serving_default"]
            names = [
                it.name for each in (signature.inputs, signature.outputs) for it in each.values()
            ]
            for _ in range(REQUESTS):
                session.run(names[1], {names[0]: [[0.0] * INPUTS]})
        del loaded, signature, session
        give_back_memory()
        seen.append(resident_mb(os.getpid()))
    return seen


def row(name: str, seen: Sequence[float], alone: Sequence[float]) -> dict[str, Any]:
    """
    Return the figures of *seen*, the MB after each swap, less the growth of TensorFlow, *alone*.
    """
    few, all_of_them = seen[FEW - 1], seen[-1]
    leaked = max(0.0, alone[-1] - alone[FEW - 1])
    grown = (all_of_them - few) / few
    net = (all_of_them - leaked - few) / few
    return {
        "name": name,
        "swaps": len(seen),
        "mb_after_few": few,
        "mb_after_all": all_of_them,
        "growth": f"{grown:.1%}",
        "growth_without_tensorflow": f"{net:.1%}",
        "verdict": "holds" if net <= BAR else "flagged",
        "mb": list(seen),
    }


@click.command()
@click.option("--swaps", type=click.IntRange(min=FEW + 1), default=20, show_default=True)
@click.option("--width", default=2048, show_default=True, help="Of the widest layer of the model.")
@click.option(
    "--alone", type=click.Path(path_type=Path), help="Load this SavedModel here; as JSON."
)
@json_option
def main(swaps: int, width: int, alone: Path | None, file: Path | None) -> None:
    """Swap versions of one size, and compare the memory after 2 swaps with that after all."""
    if alone is not None:
        click.echo(json.dumps(loaded_alone(alone, swaps)))
        return
    with TemporaryDirectory() as name:
        folder = Path(name)
        made = folder / "1"
        make_models([made], width)
        command = [sys.executable, "-m", "benchmarks.swap_memory"]
        command += ["--alone", str(made), "--swaps", str(swaps)]
        plain = json.loads(subprocess.check_output(command))  # noqa: S603 - ours
        rows = [row("TensorFlow alone", plain, [0.0] * swaps)]
        for server, module in SERVERS.items():
            (folder / server).mkdir()
            rows.append(row(server, swapped(module, made, folder / server, swaps), plain))
    click.echo(table([{key: it[key] for key in it if key != "mb"} for it in rows]))
    if file is not None:
        write(file, stamped("swap_memory", {"bar": BAR, "rows": rows}))


if __name__ == "__main__":
    main()
