"""
`python -m benchmarks.peer`: this server as one of the servers that benchmarks/peers compares.

Runs the whole server, with a dialect of its own unless `--dialect native` is given.  The null model
answers any body with its length in bytes, ``{"n": 1024}``.  The net, a frozen graph from ``images``
to ``scores``, takes an image or the raw numbers of one row, and answers ``{"classes": [...],
"scores": [...]}``, the five best first.  The table, a Keras file, needs the dialect native.
``TENSORFERRY_*`` variables are settings, as for ``tensorferry serve``.
"""

import os
import sys
from collections.abc import Callable
from functools import partial
from math import prod
from pathlib import Path

import click
import numpy as np
import orjson

from model.images.preprocessing import Resample
from model.signature import STRING, Feed, TensorSpec
from server.api.dialect import Dialect
from server.api.native import NATIVE, check_body, content_type_of, images_of
from server.call import Call, Outputs, RequestOptions
from server.http.error_statuses import HTTPError
from server.http.messages import HTTPRequest, HTTPResponse
from server.model_loading import Loader, load_model, load_null
from server.process.run import run
from server.served_model import ServedModel
from server.settings.option import SettingsError
from server.settings.sources import resolve

#: The number of classes in an answer.
BEST = 5

#: The input of the net: pixels from -1 to 1.
NET = {
    "input_layer": "images",
    "output_layer": "scores",
    "input_mean": "127.5",
    "input_std": "127.5",
}


def null_feed(model: ServedModel, request: HTTPRequest) -> Feed:
    """Return a feed of one row: the body of *request* as bytes."""
    signature = model.signatures[model.default]
    return signature.feed({signature.inputs[0].name: np.array([request.body], STRING)})


def is_row(model: ServedModel, request: HTTPRequest) -> bool:
    """Return whether the body has as many bytes as one row of the model's input."""
    spec = model.signatures[model.default].inputs[0]
    return len(request.body) == prod(_row_of(spec)) * spec.dtype.itemsize


def _row_of(spec: TensorSpec) -> list[int]:
    return [size or 0 for size in spec.row_shape]


def net_feed(model: ServedModel, request: HTTPRequest) -> Feed:
    """
    Return a feed of one row: the body as raw numbers if `is_row` is true, else as an image.

    Must be called on a decode thread if the body is an image.  Raises `HTTPError` and `BadImage`.
    """
    check_body(request)
    signature = model.signatures[model.default]
    spec = signature.inputs[0]
    if is_row(model, request):
        numbers = np.frombuffer(request.body, spec.dtype).reshape(1, *_row_of(spec))
        return signature.feed({spec.name: numbers})
    if model.image_input is None:
        raise HTTPError(415, f"expected the bytes of one row of {spec}, got {len(request.body)}")
    return model.prepare_image(images_of(request.body, content_type_of(request))[0])


def write_length(outputs: Outputs) -> HTTPResponse:
    """Return the answer of the null model as JSON."""
    return HTTPResponse(200, orjson.dumps({"n": int(outputs.arrays[0][0])}))


def write_best(outputs: Outputs) -> HTTPResponse:
    """Return the answer of the net as JSON: the five best classes and their scores."""
    scores = outputs.arrays[0][0]
    best = np.argsort(-scores, kind="stable")[:BEST]
    content = {"classes": best, "scores": scores[best]}
    return HTTPResponse(200, orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY))


def dialect_of(
    feed_of: Callable[[ServedModel, HTTPRequest], Feed],
    write: Callable[[Outputs], HTTPResponse],
    at_once: Callable[[ServedModel, HTTPRequest], bool] = lambda *_: True,
) -> Dialect:
    """
    Return the dialect that reads requests with *feed_of* and writes answers with *write*.

    *at_once* returns `Call.at_once` for a request.
    """

    def read(
        model: ServedModel, request: HTTPRequest, options: RequestOptions
    ) -> Call[HTTPResponse]:
        prepare = partial(feed_of, model, request)
        return Call(prepare, write, options, at_once=at_once(model, request))

    return Dialect(read)


@click.command()
@click.option("--port", envvar="PEER_PORT", default="8000", help="The port on 127.0.0.1.")
@click.option(
    "--model", envvar="PEER_MODEL", default="null", type=click.Choice(["null", "net", "table"]),
    help="The model.",
)  # fmt: skip
@click.option("--graph", envvar="PEER_GRAPH", type=Path, help="The frozen graph of the net.")
@click.option("--table", envvar="PEER_TABLE", type=Path, help="The Keras file of the table.")
@click.option(
    "--dialect", "spoken", envvar="PEER_DIALECT", default="peers",
    type=click.Choice(["peers", "native"]), help="That of the compared servers, or that of users.",
)  # fmt: skip
@click.option(
    "--timeout-ms", envvar="PEER_TIMEOUT_MS", default=0.0, type=click.FloatRange(min=0),
    help="The timeout of requests without X-Request-Timeout-Ms; 0: none.",
)  # fmt: skip
def main(
    port: str, model: str, graph: Path | None, table: Path | None, spoken: str, timeout_ms: float
) -> None:
    """Serve a model until a signal ends it; each option may be a PEER_... variable instead."""
    net = model == "net"
    if net and graph is None:
        raise click.UsageError("--model net needs --graph")
    if model == "table" and (table is None or spoken != "native"):
        raise click.UsageError("--model table needs --table and --dialect native")
    default_timeout = str(timeout_ms / 1e3) if timeout_ms else "none"
    given = {"port": port, "default_timeout": default_timeout}
    if net:
        given |= {"graph": str(graph), **NET}
    elif model == "table":
        given |= {"model": str(table)}
    try:
        settings = resolve(given, os.environ).settings
    except SettingsError as error:
        raise click.UsageError(str(error)) from error
    load: Loader
    dialect = NATIVE
    if net:
        # The interpolation of the other servers.
        load = partial(load_model, resample=Resample.BILINEAR)
        dialect = dialect_of(net_feed, write_best, is_row)
    elif model == "table":
        load = load_model
    else:
        load = load_null
        dialect = dialect_of(null_feed, write_length)
    sys.exit(run(settings, load=load, dialect=NATIVE if spoken == "native" else dialect))


if __name__ == "__main__":
    main()
