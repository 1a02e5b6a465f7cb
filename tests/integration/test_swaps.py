"""Versions that come, go and fail while the server is under load: every request is answered."""

import json
import os
import shutil
from contextlib import ExitStack
from pathlib import Path
from select import select
from time import monotonic

import orjson
import pytest

from model.repository.serving_toml import SERVING_TOML
from model.repository.snapshot import STABLE_SECONDS
from tests.integration.clients import get, open_socket, post, receive_answer, request_bytes
from tests.integration.open_load import under_load
from tests.integration.repositories import (
    TOKEN,
    WITHOUT_OVERRIDE,
    Repository,
    code_of,
    outputs,
    publish,
    rows_body,
    with_manifest,
    write_slow,
)
from tests.integration.servers import TENSORFERRY, run_program

pytestmark = pytest.mark.full


def test_a_version_that_is_renamed_into_place_takes_the_requests_at_once(
    repository: Repository,
) -> None:
    """The version before is unloaded when its requests are answered."""
    repository.add("renamed", 1)
    with under_load(repository.server.port, "/models/renamed") as load:
        publish(repository.adders.files(2), repository.root / "renamed" / "2")
        renamed = monotonic()
        repository.server.wait_for(
            lambda: repository.version("renamed", 2)["state"] not in ("absent", "incomplete"),
            "a load of the version",
        )
        assert monotonic() - renamed < STABLE_SECONDS / 2
        repository.wait_for_state("renamed", 2, "serving")
        repository.wait_for_state("renamed", 1, "not served")
    assert load.versions == ["renamed/1", "renamed/2"]
    assert "renamed/1 is unloaded" in repository.server.log


@pytest.mark.parametrize(("manifest", "pause"), [(False, STABLE_SECONDS / 3), (True, 0.4)])
def test_a_version_that_is_copied_file_by_file_is_not_taken_before_it_is_complete(
    repository: Repository, tmp_path: Path, manifest: bool, pause: float
) -> None:
    """Complete is what its manifest lists, or without one what has been unchanged for seconds."""
    name = f"copied-{manifest}"
    source = tmp_path / "2"
    shutil.copytree(repository.adders.files(2), source)
    if manifest:
        with_manifest(source)
    paths = sorted(path for path in source.rglob("*") if path.is_file())
    repository.add(name, 1)
    with under_load(repository.server.port, f"/models/{name}") as load:
        for path in paths:
            target = repository.root / name / "2" / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            load.wait(pause)
            assert repository.version(name, 2)["state"] in ("absent", "incomplete")
            assert load.versions == [f"{name}/1"]
            shutil.copy(path, target)
        repository.wait_for_state(name, 2, "serving")
    assert load.versions == [f"{name}/1", f"{name}/2"]


def break_graph(folder: Path) -> None:
    """Replace the graph of the SavedModel by other bytes."""
    (folder / "saved_model.pb").write_bytes(b"no graph" * 100)


def expect_another_answer(folder: Path) -> None:
    """Add a request whose answer is not that of the model."""
    row = {"request": json.loads(rows_body([1, 2])), "expected": {"outputs": {"y": [[7, 8]]}}}
    (folder / "golden.jsonl").write_text(json.dumps(row))


def enlarge(folder: Path) -> None:
    """Add a file of a terabyte, which takes no space on the disk."""
    with (folder / "variables" / "more").open("wb") as file:
        os.truncate(file.fileno(), 2**40)


@pytest.mark.parametrize(
    ("name", "damage", "reason"),
    [
        ("broken", break_graph, "saved_model.pb"),
        ("wrong", expect_another_answer, "golden.jsonl: line 1: expected 7 at .outputs.y[0][0]"),
        ("large", enlarge, "not enough memory: "),
    ],
)
def test_a_version_that_cannot_be_served_changes_nothing(
    repository: Repository, tmp_path: Path, name: str, damage: object, reason: str
) -> None:
    """It has the state failed with the reason; the version before goes on, until files change."""
    assert callable(damage)
    bad = tmp_path / "2"
    shutil.copytree(repository.adders.files(2), bad)
    damage(bad)
    repository.add(name, 1)
    with under_load(repository.server.port, f"/models/{name}") as load:
        bad.rename(repository.root / name / "2")
        failed = repository.wait_for_state(name, 2, "failed")
        assert reason in failed["reason"]
        assert f"{name}/2 is not served: {failed['reason']}" in repository.server.log
        load.wait(0.5)
        assert load.versions == [f"{name}/1"]
        refused = post(repository.server.port, rows_body([1, 2]), path=f"/models/{name}/versions/2")
        assert (refused.status, "there are: 1" in refused.error) == (404, True)
        (repository.root / name / "2").rename(tmp_path / "away")
        publish(repository.adders.files(2), repository.root / name / "2")
        repository.wait_for_state(name, 2, "serving")
    assert load.versions == [f"{name}/1", f"{name}/2"]
    shutil.rmtree(tmp_path / "away")


def test_a_label_rolls_back_without_a_failed_request(repository: Repository) -> None:
    """The old version is loaded before the label moves to it; the label keeps it loaded."""
    repository.add("labelled", 1, 2)
    assert repository.label("labelled", "live", 2).status == 200
    repository.server.wait_for(
        lambda: "live" in repository.version("labelled", 2)["labels"], "a label"
    )
    with under_load(repository.server.port, "/models/labelled/labels/live") as load:
        assert repository.label("labelled", "live", 1).status == 200
        repository.server.wait_for(
            lambda: repository.version("labelled", 1)["labels"] == ["live"], "a label that moved"
        )
        load.wait(0.5)
    assert load.versions == ["labelled/2", "labelled/1"]
    newest = post(repository.server.port, rows_body([1, 2]), path="/models/labelled")
    assert newest.headers["x-model-version"] == "labelled/2"
    refused = repository.change("POST", "labelled/versions/1/unload")
    assert (refused.status, "label live" in refused.error) == (409, True)


def test_versions_are_loaded_and_unloaded_by_command(
    repository: Repository, cache_home: Path, tmp_path: Path
) -> None:
    """`tensorferry models` over the socket: the requests for the other version are not affected."""
    repository.add("commanded", 1, 2)

    def models(*words: str) -> None:
        command = [*TENSORFERRY, "models", *words, "--server", str(repository.socket)]
        ran = run_program(command, cache_home=cache_home, folder=tmp_path)
        assert ran.returncode == 0, ran.stderr

    with under_load(repository.server.port, "/models/commanded/versions/2"):
        models("load", "commanded", "--version", "1")
        old = post(repository.server.port, rows_body([1, 2]), path="/models/commanded/versions/1")
        assert outputs(old) == [[101, 102]]
        models("unload", "commanded", "--version", "1")
        old = post(repository.server.port, rows_body([1, 2]), path="/models/commanded/versions/1")
        assert (old.status, "there are: 2" in old.error) == (404, True)
    models("unload", "commanded")
    gone = post(repository.server.port, rows_body([1, 2]), path="/models/commanded")
    assert (gone.status, "there are: adder" in gone.error) == (404, True)
    models("load", "commanded")
    assert post(repository.server.port, rows_body([1, 2]), path="/models/commanded").status == 200


def test_requests_that_wait_when_their_model_is_unloaded_are_answered(
    repository: Repository, tmp_path: Path
) -> None:
    """Those that were accepted; the next one gets a 404 that names the other models."""
    model = tmp_path / "slow"
    model.mkdir()
    write_slow(model / "1", code_of(0, 1))
    (model / SERVING_TOML).write_text("max_batch_size = 1\n")
    model.rename(repository.root / "slow")
    repository.wait_for_state("slow", 1, "serving")
    port = repository.server.port
    request = request_bytes(rows_body([20]), path="/models/slow")
    with ExitStack() as stack:
        waiting = [stack.enter_context(open_socket(port)) for _ in range(8)]
        for raw in waiting:
            raw.sendall(request)
        get(port, "/readyz")  # the server has read the requests that were sent before
        unloaded = repository.change("POST", "slow/unload")
        (version,) = orjson.loads(unloaded.body)["versions"]
        assert (unloaded.status, version["state"]) == (200, "draining")
        refused = post(port, rows_body([20]), path="/models/slow")
        assert (refused.status, "there are: adder" in refused.error) == (404, True)
        assert len(select(waiting, [], [], 0)[0]) < len(waiting)
        answers = [receive_answer(raw, monotonic()) for raw in waiting]
        assert [outputs(answer) for answer in answers] == [[[120]]] * 8
    repository.wait_for_state("slow", 1, "not served")


def test_a_request_whose_version_is_replaced_while_it_is_sent_gets_the_new_one(
    repository: Repository,
) -> None:
    """The request is accepted with its body, and so the old version does not wait for it."""
    repository.add("sent", 1)
    request = request_bytes(rows_body([3, 4]), path="/models/sent")
    with open_socket(repository.server.port) as raw:
        raw.sendall(request[:-10])
        get(repository.server.port, "/readyz")  # the server has read the head
        publish(repository.adders.files(2), repository.root / "sent" / "2")
        repository.wait_for_state("sent", 1, "not served")
        raw.sendall(request[-10:])
        answer = receive_answer(raw, monotonic())
    assert answer.headers["x-model-version"] == "sent/2"
    assert outputs(answer) == [[203, 204]]


#: Headers of a change over the public port, and the status of the answer.
PERMISSIONS = [
    ({}, 401),
    ({"Authorization": "Bearer another"}, 401),
    ({"Authorization": TOKEN}, 401),
    ({"Authorization": f"Bearer {TOKEN}"}, 200),
    ({"Authorization": f"Bearer {TOKEN}", "Origin": "http://example.org"}, 403),
]


@pytest.mark.parametrize(("headers", "status"), PERMISSIONS)
def test_a_change_over_the_public_port_needs_the_token(
    repository: Repository, headers: dict[str, str], status: int
) -> None:
    """Also from this machine; a page in a browser cannot make a change."""
    answer = post(repository.server.port, b"", path="/models/keras/load", headers=headers)
    assert answer.status == status
    assert ("www-authenticate" in answer.headers) == (status == 401)


def test_a_page_in_a_browser_cannot_make_a_change_over_the_socket(repository: Repository) -> None:
    """Its requests have an Origin; other requests need no token there."""
    origin = {"Origin": "http://127.0.0.1"}
    assert repository.change("POST", "keras/load", headers=origin).status == 403
    assert repository.change("POST", "keras/load").status == 200


@pytest.mark.skipif(
    os.geteuid() == 0 and not WITHOUT_OVERRIDE, reason="root may write to every folder"
)
def test_a_repository_that_cannot_be_written_gets_a_409(repository: Repository) -> None:
    """What is served stays."""
    repository.add("locked", 1)
    folder = repository.root / "locked"
    folder.chmod(0o555)
    try:
        refused = repository.label("locked", "live", 1)
        assert (refused.status, "cannot be written" in refused.error) == (409, True)
    finally:
        folder.chmod(0o755)
    assert repository.version("locked", 1)["state"] == "serving"
    assert repository.label("locked", "live", 1).status == 200
