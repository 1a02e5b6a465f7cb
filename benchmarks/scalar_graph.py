"""
`python -m benchmarks.scalar_graph FOLDER`: the default model as a graph that takes one JPEG file.

Retraining tutorials write such graphs.  It compares a server of this graph with a server of the
same network that takes a batch.
"""

import shutil
from functools import partial
from pathlib import Path

import click

from model.backends.tensorflow.default_model.scalar_graph import scalar_graph
from model.backends.tensorflow.default_model.source import (
    GRAPH_FILE,
    LABELS_FILE,
    DefaultModelUnavailableError,
    ensure_default_model,
)
from model.backends.tensorflow.device import quieten_tensorflow
from model.repository.cache import CacheUnavailableError, user_cache_folder


def write_scalar_graph(folder: Path) -> tuple[Path, Path]:
    """
    Write the graph and its labels into *folder*, and return the two files.

    Raises DefaultModelUnavailableError or CacheUnavailableError.
    """
    say = partial(click.echo, err=True)
    model = ensure_default_model(user_cache_folder(), say).path
    folder.mkdir(parents=True, exist_ok=True)
    graph, labels = folder / GRAPH_FILE, folder / LABELS_FILE
    graph.write_bytes(scalar_graph((model / GRAPH_FILE).read_bytes()))
    shutil.copyfile(model / LABELS_FILE, labels)
    return graph, labels


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
def main(folder: Path) -> None:
    """Write output_graph.pb and output_labels.txt into FOLDER."""
    quieten_tensorflow("cpu")
    try:
        graph, labels = write_scalar_graph(folder)
    except (DefaultModelUnavailableError, CacheUnavailableError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"tensorferry serve --graph {graph} --labels {labels}")


if __name__ == "__main__":
    main()
