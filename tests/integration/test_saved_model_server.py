"""Every model of the tables, served by the real service over real sockets."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import orjson
import pytest
from click.testing import CliRunner
from PIL import Image
from twisted.internet.threads import deferToThread

from scripts.inspect_model import inspect_model
from server.settings.table import Settings
from tests.fakes.server import Log, watched_log
from tests.images import encoded
from tests.integration.clients import Answer, ask, connect, get, post
from tests.integration.keras_models import KERAS_MODELS, KERAS_WARNINGS, written
from tests.integration.saved_models import (
    ALONE_WHEN_RUN,
    MEANS,
    PIXELS,
    SAVED_MODELS,
    SavedModelAt,
    Served,
)
from tests.integration.tensors import (
    Json,
    assert_outputs,
    inputs_of,
    request_body,
    wrong_inputs,
)
from tests.integration.watched import WatchedServer, in_reactor, module_fixture, watched_server

#: Largest batch here, in rows: few rows exceed it.
CAP = 2

ALL = slice(None)

IMAGE = encoded(Image.fromarray(PIXELS[0]), "PNG")

KERAS = {
    f"Keras, {name}{suffix}": Served(
        partial(written, build), feed, expected, kind="Keras model", suffix=suffix
    )
    for name, suffix in (("several", ".h5"), ("images", ".keras"))
    for build, feed, expected in (KERAS_MODELS[name],)
}

TABLE = {**SAVED_MODELS, **ALONE_WHEN_RUN, **KERAS}

pytestmark = [pytest.mark.full, *KERAS_WARNINGS]


@dataclass(frozen=True)
class Row:
    """A row of the table, written to disk and served."""

    name: str
    served: Served
    path: Path
    server: WatchedServer
    log: Log

    @property
    def port(self) -> int:
        """The port of its server."""
        return self.server.port

    @property
    def rows(self) -> int:
        """The rows of its request; 1 where it runs alone."""
        return 1 if self.served.alone else len(next(iter(self.served.feed.values())))

    def body(self, rows: slice = ALL) -> bytes:
        """Return the body of the request, or of some *rows* of it."""
        return request_body(inputs_of(self._cut(self.served.feed, rows)), self.served.signature)

    def assert_answered(self, answer: Answer, rows: slice = ALL) -> None:
        """Check the answer to `body`."""
        assert answer.status == 200, answer.body
        assert_outputs(answer.body, self._cut(self.served.expected, rows))

    def _cut(self, arrays: Mapping[str, np.ndarray], rows: slice) -> Mapping[str, np.ndarray]:
        if self.served.alone:
            return arrays
        return {name: array[rows] for name, array in arrays.items()}

    async def status(self) -> Json:
        """Return the status of the server."""
        return orjson.loads((await deferToThread(get, self.port, "/status")).body)


@module_fixture(*TABLE)
async def row(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    saved_model: SavedModelAt,
) -> AsyncIterator[Row]:
    """Serve each row of the table in turn, for all tests."""
    served = TABLE[request.param]
    base = tmp_path_factory.mktemp("served")
    if request.param in SAVED_MODELS:
        path = saved_model(request.param)
    else:
        path = base / f"model{served.suffix}"
        served.write(path)
    settings = Settings(port=0, model=path, max_batch_size=CAP, lanes=1)
    with watched_log() as log:
        async with watched_server(settings, base) as server:
            yield Row(request.param, served, path, server, log)


def batchesof(rows: int) -> list[int]:
    """Return the batches into which *rows* rows are split."""
    return [CAP] * (rows // CAP) + [1] * (rows % CAP)


@in_reactor
async def test_a_saved_model_answers_over_http(row: Row) -> None:
    """Exactly; a request of more rows than a batch may have is split and joined."""
    row.server.runner.batches.clear()
    row.assert_answered(await deferToThread(post, row.port, row.body()))
    assert row.server.runner.batches == batchesof(row.rows)


@in_reactor
async def test_the_only_input_needs_no_name(row: Row) -> None:
    """Its bare value is accepted; several inputs, or none, need an object of names."""
    inputs = inputs_of(row.served.feed)
    values = list(inputs.values())
    bare = request_body(values[0] if len(values) == 1 else values, row.served.signature)
    answer = await deferToThread(post, row.port, bare)
    if len(values) == 1:
        row.assert_answered(answer)
    else:
        assert (answer.status, answer.error) == (
            400,
            f"inputs: expected an object of {len(values)} names, got a list",
        )


@in_reactor
async def test_requests_share_runs_unless_they_must_run_alone(row: Row) -> None:
    """Each gets its own outputs, from shared batches or one run after the other."""
    watched = row.server
    cuts = [slice(at, at + 1) for at in range(row.rows)] * 2
    watched.runner.batches.clear()
    with watched.runner.held():
        first = deferToThread(post, row.port, row.body(cuts[0]))
        await watched.until(lambda: watched.stats.running == 1, "a run that is held")
        others = [deferToThread(post, row.port, row.body(cut)) for cut in cuts]
        await watched.until(lambda: watched.stats.waiting == len(cuts), "the others in the queue")
    row.assert_answered(await first, cuts[0])
    for cut, answer in zip(cuts, others, strict=True):
        row.assert_answered(await answer, cut)
    shared = [1] * len(cuts) if row.served.alone else batchesof(len(cuts))
    assert watched.runner.batches == [1, *shared]


@in_reactor
async def test_the_status_and_the_log_show_what_runs_alone(row: Row) -> None:
    """The log once, with the reason; and no batch is larger than the limit."""
    message = row.log.lines()
    for name, facts in (await row.status())["signatures"].items():
        assert facts["max_batch_size"] == (CAP if facts["batched"] else 1)
        reason = f"{name} runs one request at a time: {facts.get('alone')}"
        assert message.count(reason) == (0 if facts["batched"] else 1)
        if name == row.served.signature:
            assert facts.get("alone", "") == row.served.alone


@in_reactor
async def test_inspect_shows_what_is_served(row: Row) -> None:
    """Signatures, dtypes and shapes, batched or alone, and the samples, as in the status."""
    status = await row.status()
    result = CliRunner().invoke(inspect_model, [str(row.path), "--json"])
    assert (result.exit_code, result.exception) == (0, None)
    shown = orjson.loads(result.stdout)
    for facts in status["signatures"].values():
        del facts["max_batch_size"]  # only a server learns it
    # The server has logged these, too.
    assert all(note in row.log.lines() for note in shown.pop("notes"))
    assert shown == {
        "path": str(row.path),
        "kind": row.served.kind,
        "labels": 0,
        "loaded": True,
        "images": status["images"] and status["images"]["signature"],
        "pictures": status["images"] and status["images"]["signature"],
        "default_signature": status["default_signature"],
        "signatures": status["signatures"],
    }
    facts = shown["signatures"][row.served.signature]
    for side, arrays in (("inputs", row.served.feed), ("outputs", row.served.expected)):
        types = {name: array.dtype.name for name, array in arrays.items()}
        found = {each["name"]: each["dtype"] for each in facts[side]}
        assert found == {name: {"object": "string"}.get(it, it) for name, it in types.items()}


@in_reactor
async def test_the_error_for_a_wrong_request_names_the_input(row: Row) -> None:
    """For any error in any input; none of them is run."""
    facts = (await row.status())["signatures"][row.served.signature]
    wrong = [
        (request_body(inputs, row.served.signature), repr(name))
        for inputs, name in wrong_inputs(facts, inputs_of(row.served.feed))
    ]
    row.server.runner.batches.clear()

    def ask_all() -> list[Answer]:
        connection = connect(row.port)
        try:
            return [ask(connection, body) for body, _ in wrong]
        finally:
            connection.close()

    for (body, name), answer in zip(wrong, await deferToThread(ask_all), strict=True):
        assert answer.status == 400, (body, answer.body)
        assert name in answer.error, body
    assert row.server.runner.batches == []
    row.assert_answered(await deferToThread(post, row.port, row.body()))


@in_reactor
async def test_the_error_for_an_unknown_signature_lists_the_signatures(row: Row) -> None:
    """In the order of the status."""
    known = ", ".join((await row.status())["signatures"])
    body = request_body(inputs_of(row.served.feed), "absent")
    answer = await deferToThread(post, row.port, body)
    message = f"unknown signature 'absent': the model has {known}"
    assert (answer.status, answer.error) == (400, message)


@in_reactor
async def test_an_image_is_accepted_if_the_model_takes_images(row: Row) -> None:
    """Else the error has a sample of what to post."""
    status = await row.status()
    answer = await deferToThread(post, row.port, IMAGE)
    if status["images"] and row.served.suffix:
        assert (answer.status, list(orjson.loads(answer.body)["outputs"])) == (200, ["means"])
    elif status["images"]:
        assert answer.status == 200, answer.body
        (array,) = row.served.feed.values()
        scores = MEANS[:1] / 255 if array.dtype == np.float32 else MEANS[:1]
        assert_outputs(answer.body, {"scores": scores})
    else:
        sample = status["signatures"][status["default_signature"]]["sample"]
        message = f"this model takes tensors, no images; post JSON such as {sample}"
        assert (answer.status, answer.error) == (415, message)


@in_reactor
async def test_the_samples_of_the_status_are_answered(row: Row) -> None:
    """Posted without a change."""
    for facts in (await row.status())["signatures"].values():
        answer = await deferToThread(post, row.port, facts["sample"].encode())
        assert answer.status == 200, answer.body
