"""The models that take requests, by name, version and label: server/models.py."""

from dataclasses import replace

import pytest
from twisted.internet.task import Clock

from server.inference import Inference
from server.models import ModelNotReady, Models, UnknownModel, Versions
from tests.fakes.server import FakeInference


def served(name: str, version: str) -> Inference:
    """Return the inference of a model of that name and version."""
    inference = FakeInference(Clock())
    inference.model = replace(inference.model, name=name, version=version)
    return inference


OLD, NEW, CARS = served("pets", "1"), served("pets", "2"), served("cars", "7")
PETS = Versions({"1": OLD, "2": NEW}, "2", {"stable": "1"}, {"3"}, {"canary"})


def zoo() -> Models:
    """Return two models, of which one has several versions."""
    models = Models(lambda: "loading")
    models.starting = False
    models.route("pets", PETS)
    models.route("cars", Versions({"7": CARS}, "7"))
    models.await_models({"fish": "loading"})
    return models


def test_a_request_finds_the_version_that_it_names() -> None:
    """By its number or by a label; else the default version."""
    models = zoo()
    assert models.find("pets") is models.find("pets", "2") is NEW
    assert models.find("pets", "1") is models.find("pets", label="stable") is OLD
    assert models.find("cars") is CARS


def test_a_request_that_names_no_model_is_for_the_only_one() -> None:
    """If there are several, it is an error, whichever was loaded first."""
    models = zoo()
    with pytest.raises(UnknownModel, match="the request names no model, post to /models/NAME; "):
        models.find()
    models.route("pets", None)
    models.await_models({})
    assert models.find() is CARS


def test_a_request_that_names_no_model_waits_for_all_of_the_start() -> None:
    """Its answer must not depend on which one is loaded first."""
    models = zoo()
    models.route("pets", None)
    assert models.find() is not None
    models.starting = True
    with pytest.raises(ModelNotReady, match="the models are not ready: loading"):
        models.find()
    models.starting = False
    models.route("cars", None)
    with pytest.raises(ModelNotReady, match="the server is not ready: loading"):
        models.find()


@pytest.mark.parametrize(
    ("name", "version", "label", "message"),
    [
        ("boats", None, None, "no model 'boats' is served; there are: cars, pets"),
        ("pets", "4", None, "no version '4' of pets; there are: 1, 2"),
        ("pets", None, "best", "no label 'best' of pets; there are: stable"),
        ("cars", None, "best", "no label 'best' of cars; there are none"),
        ("x" * 100, None, None, f"no model '{'x' * 80}' is served; there are: cars, pets"),
    ],
)
def test_what_is_not_served_is_an_error_that_names_what_is(
    name: str, version: str | None, label: str | None, message: str
) -> None:
    """A name from a client is cut, so that the line stays short."""
    with pytest.raises(UnknownModel) as caught:
        zoo().find(name, version, label)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("name", "version", "label", "message"),
    [
        ("fish", None, None, "fish is not ready: loading"),
        ("pets", "3", None, "version 3 of pets is not ready"),
        ("pets", None, "canary", "the version of pets with the label canary is not ready"),
    ],
)
def test_what_is_loaded_now_is_not_ready(
    name: str, version: str | None, label: str | None, message: str
) -> None:
    """A client may ask again, which it would not after a 404."""
    with pytest.raises(ModelNotReady) as caught:
        zoo().find(name, version, label)
    assert str(caught.value) == message


def test_during_the_start_any_model_may_still_be_found() -> None:
    """Before the repository has been read, no name is known to be wrong."""
    models = Models(lambda: "loading TensorFlow")
    for name in (None, "pets"):
        with pytest.raises(ModelNotReady, match=": loading TensorFlow"):
            models.find(name)
    with pytest.raises(ModelNotReady):
        models.any()


def test_after_the_start_no_model_is_not_found() -> None:
    """When all have been unloaded."""
    models = Models(lambda: "warming up")
    models.starting = False
    for ask in (models.find, models.any):
        with pytest.raises(UnknownModel, match="no model is served"):
            ask()
