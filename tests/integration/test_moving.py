"""Commands and files of TensorFlow Serving and of Triton start a server with equal answers."""

import shutil
from pathlib import Path

import orjson
import pytest

from tests.integration.clients import get, post
from tests.integration.repositories import (
    Adders,
    Repository,
    code_of,
    outputs,
    rows_body,
    write_adder,
    write_jpeg_graph,
)
from tests.integration.servers import free_port, readiness, serving, started
from tests.integration.test_repository import grey_jpeg

pytestmark = pytest.mark.full

ROW = rows_body([1, 2])


def answer_of(version: int) -> list[list[float]]:
    """Return the answer of a version of `Adders` to `ROW`."""
    return [[1.0 + code_of(0, version), 2.0 + code_of(0, version)]]


def test_a_command_of_tensorflow_serving_serves_the_newest_version_of_a_base_path(
    cache_home: Path, tmp_path: Path
) -> None:
    """Each flag that sets something, or is ignored, has a line in the log."""
    adders = Adders(tmp_path / "adders")
    for version in (1, 2):
        shutil.copytree(adders.files(version), tmp_path / "adder" / str(version))
    (tmp_path / "batching.config").write_text("max_batch_size { value: 8 }\n")
    port = free_port()
    with started(
        "--port=8500", f"--rest_api_port={port}", "--model_name=adder",
        f"--model_base_path={tmp_path / 'adder'}", "--enable_batching=true",
        "--batching_parameters_file", "batching.config", "--rest_api_timeout_in_ms", "60000",
        cache_home=cache_home, folder=tmp_path,
    ) as server:  # fmt: skip
        server.wait_for(lambda: readiness(port) == 200, "readiness")
        for path in ("/", "/models/adder", "/models/adder/versions/2"):
            answer = post(port, ROW, path=path)
            assert outputs(answer) == answer_of(2)
            assert answer.headers["x-model-version"] == "adder/2"
        for line in (
            "--port=8500 is ignored: gRPC is not served",
            f"--rest_api_port={port} sets listen = tcp:{port}",
            "--batching_parameters_file=batching.config sets max_batch_size = 8",
            "--rest_api_timeout_in_ms=60000 sets default_timeout = 60.0",
            "--enable_batching=true is ignored: ",
        ):
            assert server.log.count(line) == 1


def write_config(folder: Path, stable: int) -> None:
    """Write a model config file with two models; *stable* is the version of a label."""
    (folder / "models.config").write_text(
        f"""
        model_config_list {{
          config {{
            name: "adder" base_path: "{folder}/first" model_platform: "tensorflow"
            model_version_policy {{ specific {{ versions: 1 versions: 2 }} }}
            version_labels {{ key: "stable" value: {stable} }}
            version_labels {{ key: "canary" value: 2 }}
          }}
          config {{ name: "other" base_path: "{folder}/second" logging_config {{}} }}
        }}
        """
    )


def test_a_model_config_file_serves_models_with_their_versions_and_labels(
    cache_home: Path, tmp_path: Path
) -> None:
    """It is read again when it changes; no other change is taken."""
    adders = Adders(tmp_path / "adders")
    for path in ("first/1", "first/2", "first/3", "second/7"):
        shutil.copytree(adders.files(int(path[-1])), tmp_path / path)
    for folder in ("first", "second"):
        (tmp_path / folder / "serving.toml").write_text("versions = []\n")  # has no effect
    write_config(tmp_path, stable=1)
    admin = tmp_path / "admin.sock"
    with serving(
        "--model_config_file=models.config", "--admin-listen", str(admin), "--max-batch-size=8",
        cache_home=cache_home, folder=tmp_path,
    ) as server:  # fmt: skip
        repository = Repository(tmp_path, server, admin, adders)
        repository.wait_for_state("adder", 1, "serving")
        repository.wait_for_state("adder", 2, "serving")
        for path, version in {
            "adder": 2,
            "adder/labels/stable": 1,
            "adder/labels/canary": 2,
            "adder/versions/1": 1,
            "other": 7,
        }.items():
            assert outputs(post(server.port, ROW, path=f"/models/{path}")) == answer_of(version)
        assert post(server.port, ROW, path="/models/adder/versions/3").status == 404
        note = f"{tmp_path}/models.config:9: model_config_list.config.logging_config is ignored"
        assert server.log.count(note) == 1
        (reported,) = orjson.loads(get(server.port, "/models/other").body)["notes"]
        assert reported.startswith(note.removeprefix(f"{tmp_path}/"))
        refused = repository.label("adder", "stable", 2)
        assert refused.status == 409
        assert refused.error == "models.config states which models are served: change it there"
        write_config(tmp_path, stable=2)
        server.wait_for(
            lambda: (
                outputs(post(server.port, ROW, path="/models/adder/labels/stable")) == answer_of(2)
            ),
            "the moved label",
            30,
        )


def test_a_repository_of_triton_is_served_as_it_is(cache_home: Path, tmp_path: Path) -> None:
    """Its config.pbtxt states the versions; the models have its names."""
    root = tmp_path / "models"
    for version in (1, 2):
        (root / "adder" / str(version)).mkdir(parents=True)
        write_adder(root / "adder" / str(version) / "model.savedmodel", code_of(0, version))
    (root / "adder" / "config.pbtxt").write_text(
        """
        platform: "tensorflow_savedmodel"
        max_batch_size: 8
        version_policy: { all { } }
        dynamic_batching { max_queue_delay_microseconds: 100 }
        instance_group [ { count: 2 } ]
        """
    )
    (root / "jpegs").mkdir()
    write_jpeg_graph(root / "jpegs" / "1", code_of(1, 1))
    (root / "jpegs" / "1" / "graph.pb").rename(root / "jpegs" / "1" / "model.graphdef")
    with serving("--models", str(root), cache_home=cache_home, folder=tmp_path) as server:
        repository = Repository(root, server, tmp_path / "none", Adders(tmp_path / "adders"))
        repository.wait_for_state("adder", 1, "serving")
        for version in (1, 2):
            answer = post(server.port, ROW, path=f"/models/adder/versions/{version}")
            assert outputs(answer) == answer_of(version)
        repository.wait_for_state("jpegs", 1, "serving")
        scores = dict(post(server.port, grey_jpeg(100), path="/models/jpegs").labels)
        assert scores["mean and code"] - scores["mean"] == pytest.approx(code_of(1, 1), abs=0.01)
        note = f"{root}/adder/config.pbtxt:6: instance_group is ignored"
        assert server.log.count(note) == 1
