"""
`tensorferry inspect`: show the signatures of a model, whether they batch, and a sample request.

Imports only click and the table of settings until the command runs, so that --help is fast.
"""

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click
import orjson

from server.settings.click_options import SettingsCommand, click_options
from server.settings.groups import MODEL
from server.settings.option import SettingsError, printable
from server.settings.sources import CommandLine, resolve

if TYPE_CHECKING:
    from model.backends.tensorflow.inspection import Inspection
    from model.repository.model_kind import ModelFiles

ADDRESS = "localhost:12480"


@click.command("inspect", cls=SettingsCommand)
@click_options(MODEL)
@click.argument("path", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def inspect_model(command_line: CommandLine, path: str | None, as_json: bool) -> None:
    """
    Show the signatures of the model at PATH, by default of the default model.

    PATH is a frozen graph, a SavedModel folder, a .keras or .h5 file, or a folder with one of these
    and a model.toml. The model is loaded and runs one row on the CPU, unless it has operations that
    read or write files or run Python: then it is only read.
    """
    given = command_line if path is None else {**command_line, "model": path}
    try:
        settings = resolve(given, os.environ).settings
    except SettingsError as error:
        raise click.UsageError(str(error)) from error
    from model.backends.tensorflow.backend import TensorFlowBackend  # noqa: PLC0415 - for this command
    from model.backends.tensorflow.inspection import inspect_files  # noqa: PLC0415 - the same
    from model.errors import ModelError  # noqa: PLC0415 - the same
    from model.repository.labels import read_labels  # noqa: PLC0415 - the same
    from server.model_loading import locate_model  # noqa: PLC0415 - the same

    try:
        _, files, facts = locate_model(
            replace(settings, device="cpu"),
            lambda line: click.echo(line, err=True),
            backends=[TensorFlowBackend()],
        )
        labels = read_labels(facts.labels) if facts.labels is not None else ()
        found = inspect_files(files, facts, labels=labels, max_pixels=settings.max_pixels)
    except ModelError as error:
        raise click.ClickException(printable(str(error))) from error
    if as_json:
        click.echo(orjson.dumps(as_data(files, found, labels), option=orjson.OPT_INDENT_2))
    else:
        click.echo(as_text(files, found, labels), nl=False)


def as_data(files: "ModelFiles", found: "Inspection", labels: tuple[str, ...]) -> dict[str, Any]:
    """Return *found*, the result of an inspection, as data for JSON."""
    from server.api.samples import sample_feed  # noqa: PLC0415 - numpy, when a command needs it
    from server.api.status import signature_facts  # noqa: PLC0415 - the same

    images = found.image_input and found.image_input.requested.name
    return {
        "path": printable(str(files.path)),
        "kind": files.kind,
        "labels": len(labels),
        "loaded": found.loaded,
        "images": images,
        "pictures": images,  # the former name of "images"
        "default_signature": found.default,
        "notes": list(found.notes),
        "signatures": {
            each.name: signature_facts(
                each, found.default, sample_feed(each, found.image_input, found.samples)
            )
            for each in found.signatures
        },
    }


def as_text(files: "ModelFiles", found: "Inspection", labels: tuple[str, ...]) -> str:
    """Return *found*, the result of an inspection, as text, one fact per line."""
    from server.api.samples import (  # noqa: PLC0415 - numpy, when a command needs it
        sample_command,
        sample_feed,
    )

    lines = [f"{files.path}: {files.kind}, {_size(files)}", *found.notes]
    if labels:
        lines.append(f"{len(labels)} labels: {labels[0]}, ... {labels[-1]}")
    for signature in found.signatures:
        lines += ["", signature.name + (" (default)" if signature.name == found.default else "")]
        for verb, specs in (("takes", signature.inputs), ("gives", signature.outputs)):
            lines += [f"  {verb}    {spec.name}: {spec}" for spec in specs]
        batches = "yes" if signature.batched else f"no, one request at a time: {signature.alone}"
        lines.append(f"  batches  {batches}")
        if found.image_input is not None and signature == found.image_input.requested:
            lines.append(f"  try      curl -F data=@photo.jpg {ADDRESS}")
        sample = sample_feed(signature, found.image_input, found.samples)
        if isinstance(sample, str):
            lines.append(f"  no sample: {sample}")
        else:
            lines.append(f"  try      {sample_command(sample, found.default, ADDRESS)}")
    # The file may contain any names, control characters included.
    return "".join(f"{printable(line)}\n" for line in lines)


def _size(files: "ModelFiles") -> str:
    """Return the total size of the files, with its unit."""
    inside = files.path.rglob("*") if files.path.is_dir() else [files.path]
    total = sum(each.stat().st_size for each in inside if each.is_file())
    return f"{total / 1e6:.1f} MB" if total >= 1e5 else f"{total / 1e3:.1f} kB"
