"""A graph that takes one JPEG file, as written by retraining, served over HTTP."""

import re
from base64 import b64encode
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import orjson
import pytest
from twisted.internet.threads import deferToThread

from benchmarks.scalar_graph import write_scalar_graph
from server.settings.table import Settings
from tests.fakes.server import Log
from tests.images import claims, encoded
from tests.integration.clients import Answer, form, get, mean_rows, post_all
from tests.integration.graphs import SCORES
from tests.integration.photos import KNOWN, jpeg, photo
from tests.integration.scalar_graphs import CONTENTS
from tests.integration.watched import asked, in_reactor, watched_server

CUT = (
    r"the graph is cut at (\S+):0, \[224, 224, 3\]: decoding runs for each image, the rest "
    r"in batches; largest difference from running one row at a time: (\S+)"
)


def scores_of(graph: Path, files: Sequence[bytes]) -> list[np.ndarray]:
    """Return the scores of the unchanged graph for each file, the best first."""
    import tensorflow.compat.v1 as tf

    with tf.Graph().as_default() as whole:
        tf.import_graph_def(tf.GraphDef.FromString(graph.read_bytes()), name="")
    with tf.Session(graph=whole) as session:
        rows = [session.run(f"{SCORES}:0", {f"{CONTENTS}:0": file}) for file in files]
    return [np.sort(row, axis=None)[::-1] for row in rows]


def check_scores(answers: Sequence[Answer], expected: Sequence[np.ndarray]) -> None:
    """Check the scores of each answer, which may be fewer than expected."""
    for answer, scores in zip(answers, expected, strict=True):
        found = [score for _, score in answer.labels]
        np.testing.assert_allclose(found, scores[: len(found)], 0, 1e-5)


def without_pixels(file: bytes) -> bytes:
    """Return a JPEG file with a valid start and end, and only tables in between."""
    return file[: file.index(b"\xff\xda")] + b"\xff\xd9"


#: Bodies, the status of the answer, and part of its message.
REFUSED = [
    (b"hello\n", 400, "is not a JPEG, PNG, GIF, BMP or WebP image"),
    (jpeg("rocket.jpg")[:9000], 400, "the JPEG image is cut short"),
    (without_pixels(jpeg("rocket.jpg")), 400, "end marker, before the pixels"),
    (encoded(photo("coffee.png"), "WEBP"), 400, "the model cannot decode the image: "),
    (claims("JPEG", 1001, 1000), 413, "1001 x 1000 is 1001000 pixels, over the limit of 1000000"),
]


# The load of the whole default model takes long; the properties of such graphs have quick tests in
# test_batched_graph.py, test_loading.py and test_image_models.py.
@pytest.mark.full
@in_reactor
async def test_the_default_model_as_a_graph_of_one_file_is_served_in_batches(
    cache_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: Log
) -> None:
    """Each answer is that of the unchanged graph; a broken file does not affect its batch."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache_home))
    graph, labels = write_scalar_graph(tmp_path)
    files = [jpeg(name) for name in KNOWN]
    expected = scores_of(graph, files)
    settings = Settings(
        port=0, graph=graph, labels=labels, lanes=1, max_batch_size=8, max_pixels=10**6
    )
    async with watched_server(settings, cache_home) as watched:
        # On one lane, 16 clients must share runs on any machine.
        bodies = [*files, without_pixels(files[0])] * 8
        answers = await deferToThread(post_all, watched.port, bodies, 16)
        assert [answer.status for answer in answers] == [200, 200, 200, 200, 400] * 8
        good = [answer for answer in answers if answer.status == 200]
        check_scores(good, expected * 8)
        assert mean_rows(good) > 1
        for name, answer in zip(list(KNOWN) * 8, good, strict=True):
            assert answer.best in KNOWN[name]
        post_here = partial(asked, watched)
        whole = await post_here(files[0], path="/?k=1000")
        assert len(whole.labels) == 1000
        check_scores([whole], expected[:1])
        for body, code, reason in REFUSED:
            in_form, headers = form(body)
            for refused in (await post_here(body), await post_here(in_form, headers=headers)):
                assert (refused.status, reason in refused.error) == (code, True), refused.body
        # JSON has the name of the input of files; each image is a row.
        rows = [{"b64": b64encode(file).decode()} for file in files]
        answer = await post_here(orjson.dumps({"inputs": {CONTENTS: rows}}))
        scores = np.array(orjson.loads(answer.body)["outputs"][SCORES])
        np.testing.assert_allclose(np.sort(scores, axis=1)[:, ::-1], expected, 0, 1e-5)
        rows[1] = {"b64": b64encode(b"hello").decode()}
        assert (await post_here(orjson.dumps({"inputs": {CONTENTS: rows}}))).status == 400
        status = orjson.loads((await deferToThread(get, watched.port, "/status")).body)
        sample = status["signatures"]["serving_default"]["sample"]
        assert (await post_here(sample.encode())).status == 200
    ((tensor, difference),) = re.findall(CUT, "\n".join(log.lines()))
    assert float(difference) <= 1e-5
    taken, cut = (status["signatures"][f"serving_default{kind}"] for kind in ("", ":rows"))
    assert taken["inputs"] == [{"name": CONTENTS, "dtype": "string", "shape": [None]}]
    assert cut["inputs"] == [{"name": tensor, "dtype": "uint8", "shape": [None, 224, 224, 3]}]
    for signature in (taken, cut):
        assert (signature["batched"], signature["max_batch_size"]) == (True, 8)
    images = {"signature": "serving_default", "how": "decoded by the model itself"}
    assert status["images"] == images
