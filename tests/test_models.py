"""The models that are served, by name and version: server/models.py."""

from dataclasses import replace

import pytest
from twisted.internet.task import Clock

from server.inference import Inference
from server.models import ModelNotReady, Models, UnknownModel
from tests.fakes.server import FakeInference


def served(name: str, version: str) -> Inference:
    """Return the inference of a model of that name and version."""
    inference = FakeInference(Clock())
    inference.model = replace(inference.model, name=name, version=version)
    return inference


def test_a_request_that_names_no_model_is_for_the_first() -> None:
    """One that names no version is for the version that was added last."""
    models = Models(lambda: "loading")
    with pytest.raises(ModelNotReady, match="the model is not ready yet: loading"):
        models.find()
    pets, newer, cars = served("pets", "1"), served("pets", "2"), served("cars", "7")
    for each in (pets, newer, cars):
        models.add(each)
    assert models.find() is models.find("pets") is models.find("pets", "2") is newer
    assert models.find("pets", "1") is pets
    assert models.find("cars") is models.find("cars", "7") is cars


@pytest.mark.parametrize(
    ("name", "version", "message"),
    [
        ("boats", None, "no model 'boats' is served; there are: pets, cars"),
        ("boats", "1", "no model 'boats' is served; there are: pets, cars"),
        ("pets", "3", "no version '3' of pets; there are: 1, 2"),
        ("x" * 100, None, f"no model '{'x' * 80}' is served; there are: pets, cars"),
    ],
)
def test_an_unknown_model_is_an_error_that_names_the_known(
    name: str, version: str | None, message: str
) -> None:
    """A name from a client is cut, so that the line stays short."""
    models = Models()
    for each in (served("pets", "1"), served("pets", "2"), served("cars", "7")):
        models.add(each)
    with pytest.raises(UnknownModel) as caught:
        models.find(name, version)
    assert str(caught.value) == message


def test_a_removed_version_is_served_no_longer() -> None:
    """The version before it is found again; a model that took its place is not removed."""
    models = Models()
    old, new, again = served("pets", "1"), served("pets", "2"), served("pets", "2")
    for each in (old, new, again):
        models.add(each)
    models.remove(new)
    assert models.find("pets") is again
    models.remove(again)
    assert models.find("pets") is old
    models.remove(old)
    with pytest.raises(ModelNotReady):
        models.find("pets")
