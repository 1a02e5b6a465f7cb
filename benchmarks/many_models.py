"""
`python -m benchmarks.many_models`: start a server with many small models, and with one.

States the seconds until the server is ready, its memory and its threads: a model costs no thread.
The first start of each repository measures the runs of each model, the second one reads them.
"""

import shutil
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from benchmarks.kept import json_option, stamped, write
from benchmarks.repositories import ask, make_models, report, resident_mb, thread_count
from benchmarks.served import serving_models
from benchmarks.tables import table

WIDTH = 32  #: of the widest layer of the first model; each further model is wider
PATIENCE = 60.0  #: seconds for each model in which the server must become ready


def started(root: Path, cache: Path, start: str) -> dict[str, Any]:
    """Return the figures of a server of all models in *root*; *start* names the kind of start."""
    names = sorted(path.name for path in root.iterdir())
    began = time.monotonic()
    with serving_models(root, cache, patience=PATIENCE * len(names)) as (pid, url):
        took = time.monotonic() - began
        memory, threads = resident_mb(pid), thread_count(pid)
        serving = [name for name in names if report(url, name)["default_version"]]
        for name in serving:
            ask(url, name)
        return {
            "models": len(names),
            "start": start,
            "serving": len(serving),
            "ready_s": round(took, 2),
            "rss_mb": memory,
            "threads": threads,
            "asked_rss_mb": resident_mb(pid),
            "asked_threads": thread_count(pid),
        }


@click.command()
@click.option("--models", default=50, show_default=True, help="In the large repository.")
@json_option
def main(models: int, file: Path | None) -> None:
    """Start a server of one model, then one of many."""
    rows = []
    with TemporaryDirectory() as name:
        folder = Path(name)
        made = [folder / "made" / f"model{number}" / "1" for number in range(models)]
        make_models(made, WIDTH, wider=1)
        for count in (1, models):
            root, cache = folder / f"{count}-models", folder / f"{count}-cache"
            cache.mkdir()
            for path in made[:count]:
                shutil.copytree(path.parent, root / path.parent.name)
            rows += [started(root, cache, start) for start in ("first", "second")]
    click.echo(table(rows))
    if file is not None:
        write(file, stamped("many_models", {"rows": rows}))


if __name__ == "__main__":
    main()
