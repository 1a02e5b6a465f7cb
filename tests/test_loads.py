"""What a registry has of the models: server/loads.py."""

from dataclasses import replace
from math import inf

import pytest
from twisted.internet.task import Clock

from server.discovery.worker_record import MAX_WAIT_SECONDS, ModelLoad
from server.inference import Inference
from server.loads import model_loads
from server.models import Models, Versions
from tests.fakes.server import FakeInference


def served(version: str, wait: float, added: float) -> Inference:
    """Return the inference of a version with these waits, in seconds."""
    inference = FakeInference(Clock())
    inference.model = replace(inference.model, version=version)
    inference.admission.expected_wait = lambda: wait  # type: ignore[method-assign]  # a fake
    inference.admission.added_wait = lambda: added  # type: ignore[method-assign]  # the same
    return inference


@pytest.mark.parametrize(
    ("wait", "max_wait", "listed"),
    [(0.25, MAX_WAIT_SECONDS, 0.25), (inf, MAX_WAIT_SECONDS, MAX_WAIT_SECONDS), (inf, inf, inf)],
)
def test_a_model_has_the_waits_of_its_default_version(
    wait: float, max_wait: float, listed: float
) -> None:
    """And all versions that take requests, in order; a registry has no infinity."""
    models = Models()
    versions = {it: served(it, wait if it == "2" else 9.0, 0.5) for it in ("10", "2")}
    models.route("pets", Versions(versions, "2"))
    models.route("cars", Versions({"1": served("1", 1.0, 0.0)}, "2", awaited={"2"}))
    assert model_loads(models, max_wait) == {"pets": ModelLoad(listed, 0.5, ("2", "10"))}
