"""tritonclient.http, the client without asyncio."""

from itertools import product

import ml_dtypes
import numpy as np
import tritonclient.http as triton
from cases import ADDRESS, TOKEN, case, refusal, run
from triton_inputs import (
    PAIRS,
    PHOTO,
    TYPES,
    WHOLE,
    check_several,
    inputs_of,
    outputs_of,
    several_inputs,
)
from tritonclient.utils import InferenceServerException


@case
def health(client):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("several")
    assert client.is_model_ready("adder", "1")
    assert not client.is_model_ready("missing")
    assert not client.is_model_ready("adder", "7")


@case
def metadata(client):
    server = client.get_server_metadata()
    assert server["name"] == "tensorferry"
    assert "binary_tensor_data" in server["extensions"]
    model = client.get_model_metadata("several")
    assert model["versions"] == ["1"]
    assert {it["name"]: (it["datatype"], it["shape"]) for it in model["inputs"]} == {
        "a": ("FP32", [-1, 2]),
        "b": ("INT32", [-1]),
    }
    assert sorted(client.get_model_metadata("adder")["versions"]) == ["1", "2"]
    assert client.get_model_metadata("adder", "1")["name"] == "adder"


@case
def config(client):
    config = client.get_model_config("several")
    assert config["max_batch_size"] == 8
    assert {it["name"]: (it["data_type"], it["dims"]) for it in config["output"]} == {
        "product": ("TYPE_FP32", []),
        "sum": ("TYPE_FP32", [2]),
    }
    assert "dynamic_batching" in config


@case
def binary_and_json(client):
    named = (None, ["sum"], ["product", "sum"])
    for binary_in, binary_out, names in product((True, False), (True, False), named):
        outputs = names and outputs_of(triton, names, binary=binary_out)
        result = client.infer(
            "several", several_inputs(triton, binary=binary_in), outputs=outputs, request_id="7"
        )
        check_several(result, names)
        sent_as_json = all("data" in it for it in result.get_response()["outputs"])
        assert sent_as_json == (names is not None and not binary_out)
        assert result.get_response()["id"] == "7"


@case
def inputs_in_both_forms(client):
    inputs = several_inputs(triton, binary=True)
    inputs[0].set_data_from_numpy(PAIRS, binary_data=False)
    check_several(client.infer("several", inputs))


@case
def versions(client):
    for version, code in (("1", 100), ("2", 200), ("stable", 100), ("", 200)):
        inputs = inputs_of(triton, {"x": PAIRS})
        result = client.infer("adder", inputs, model_version=version)
        np.testing.assert_array_equal(result.as_numpy("y"), PAIRS + code)
        assert result.get_response()["model_version"] == {100: "1", 200: "2"}[code]


@case
def signatures(client):
    inputs = inputs_of(triton, {"x": PAIRS})
    result = client.infer("adder", inputs, parameters={"signature_name": "doubled"})
    np.testing.assert_array_equal(result.as_numpy("y"), PAIRS * 2 + 200)


@case
def compression(client):
    for request, response in product((None, "gzip", "deflate"), repeat=2):
        for binary in (True, False):
            rows = np.tile(PAIRS, (200, 1))
            inputs = inputs_of(triton, {"a": rows, "b": np.tile(WHOLE, 200)}, binary=binary)
            result = client.infer(
                "several",
                inputs,
                request_compression_algorithm=request,
                response_compression_algorithm=response,
            )
            np.testing.assert_array_equal(
                result.as_numpy("sum"), rows + np.tile(WHOLE, 200)[:, None]
            )


@case
def types(client):
    result = client.infer("types", inputs_of(triton, TYPES))
    for name, values in TYPES.items():
        found = result.as_numpy(f"{name}_out")
        assert found.dtype == values.dtype
        np.testing.assert_array_equal(found, values)


@case
def types_without_json(client):
    assert ml_dtypes.bfloat16 == TYPES["brain"].dtype
    names = [f"{name}_out" for name in TYPES]
    inputs = inputs_of(triton, TYPES)
    outputs = outputs_of(triton, names, binary=False)
    error = refusal(InferenceServerException, client.infer, "types", inputs, outputs=outputs)
    assert "cannot be sent as JSON" in error
    as_json = ["text_out", "flag_out", "whole_out"]
    outputs = outputs_of(triton, as_json, binary=False)
    outputs += outputs_of(triton, ["half_out", "brain_out"], binary=True)
    result = client.infer("types", inputs, outputs=outputs)
    for name, values in TYPES.items():
        found = result.as_numpy(f"{name}_out")
        if name == "text":
            found = np.array([it.encode() for it in found.flat], object).reshape(found.shape)
        np.testing.assert_array_equal(found, values)


@case
def images_and_classes(client):
    inputs = inputs_of(triton, {"image": np.array([PHOTO, PHOTO], object)})
    outputs = [triton.InferRequestedOutput("scores", class_count=2)]
    classes = client.infer("photos", inputs, outputs=outputs).as_numpy("scores")
    assert classes.shape == (2, 2)
    (score, index, label) = classes[0, 0].decode().split(":")
    assert (index, label) == ("1", "green")
    scores = client.infer("photos", inputs).as_numpy("scores")
    assert scores.shape == (2, 3)
    assert abs(scores[0, 1] - float(score)) < 1e-3
    pixels = np.zeros((1, 4, 5, 3), np.uint8)
    assert not client.infer("photos", inputs_of(triton, {"image": pixels})).as_numpy("scores").any()


@case
def statistics(client):
    def stats():
        (found,) = client.get_inference_statistics("several")["model_stats"]
        return found

    before = stats()
    check_several(client.infer("several", several_inputs(triton, binary=True)))
    after = stats()
    assert after["inference_count"] == before["inference_count"] + len(PAIRS)
    # Two idle lanes run a row each.
    assert after["execution_count"] - before["execution_count"] in {1, 2}
    success = [it["inference_stats"]["success"]["count"] for it in (before, after)]
    assert success[1] == success[0] + 1
    assert after["last_inference"] > 1_700_000_000_000
    names = {it["name"] for it in client.get_inference_statistics()["model_stats"]}
    assert {"several", "adder", "types"} <= names
    (one,) = client.get_inference_statistics("adder", "1")["model_stats"]
    assert one["version"] == "1"


@case
def repository(client):
    def states():
        index = client.get_model_repository_index()
        return {it["version"]: it["state"] for it in index if it["name"] == "movable"}

    assert states() == {"1": "READY", "2": "READY"}
    for change in (client.unload_model, client.load_model):
        error = refusal(InferenceServerException, change, "movable")
        assert "[401]" in error
        assert "Authorization" in error
    client.unload_model("movable", headers=TOKEN, unload_dependents=True)
    assert not client.is_model_ready("movable")
    inputs = inputs_of(triton, {"x": PAIRS})
    error = refusal(InferenceServerException, client.infer, "movable", inputs)
    assert "movable" in error
    client.load_model("movable", headers=TOKEN)
    assert client.is_model_ready("movable")
    assert "READY" in states().values()
    client.infer("movable", inputs)
    for options in ({"config": "{}"}, {"config": "{}", "files": {"file:1/model.pb": b"a"}}):
        error = refusal(
            InferenceServerException, client.load_model, "movable", headers=TOKEN, **options
        )
        assert "[400]" in error
    error = refusal(InferenceServerException, client.load_model, "missing", headers=TOKEN)
    assert "failed to load 'missing'" in error


@case
def priority_and_timeout(client):
    for priority in (0, 1, 2, 9):
        inputs = several_inputs(triton, binary=True)
        check_several(client.infer("several", inputs, priority=priority, timeout=60_000_000))
    inputs = several_inputs(triton, binary=True)
    error = refusal(InferenceServerException, client.infer, "several", inputs, timeout=1)
    assert "[503]" in error or "[504]" in error, error


@case
def parameters_without_a_meaning_here(client):
    """A sequence, query parameters, and parameters and headers of other servers."""
    result = client.infer(
        "several",
        several_inputs(triton, binary=True),
        sequence_id=7,
        sequence_start=True,
        sequence_end=True,
        parameters={"colour": "red", "level": 3, "flag": True},
        query_params={"trace": 1},
        headers={"X-Test": "1"},
    )
    check_several(result)


@case
def errors(client):
    def error_of(model, arrays, **options):
        inputs = inputs_of(triton, arrays)
        return refusal(InferenceServerException, client.infer, model, inputs, **options)

    good = {"a": PAIRS, "b": WHOLE}
    error = error_of("missing", good)
    assert error.startswith("[404] Request for unknown model: 'missing' is not found")
    assert "'several' version 7 is not found" in error_of("several", good, model_version="7")
    error = error_of("several", {**good, "a": PAIRS[:, :1]})
    assert "[400] unexpected shape for input 'a' for model 'several'" in error
    assert "expected 2 inputs but got 1" in error_of("several", {"a": PAIRS})
    assert "unexpected inference input 'c'" in error_of("several", {"a": PAIRS, "c": WHOLE})
    assert "data-type is 'FP64'" in error_of("several", {**good, "a": PAIRS.astype(np.float64)})
    outputs = outputs_of(triton, ["none"], binary=True)
    assert "unexpected inference output 'none'" in error_of("several", good, outputs=outputs)
    error = refusal(InferenceServerException, client.get_model_metadata, "missing")
    assert error.startswith("[404]")
    error = refusal(InferenceServerException, client.get_trace_settings)
    assert "[501]" in error
    for call in (client.get_system_shared_memory_status, client.get_log_settings):
        assert "[501]" in refusal(InferenceServerException, call)


@case
def several_at_once(client):
    pending = [
        client.async_infer("several", several_inputs(triton, binary=True)) for _ in range(50)
    ]
    for each in pending:
        check_several(each.get_result())


@case
def an_input_of_any_width(client):
    """A body of megabytes, and its answer."""
    rows = np.random.default_rng(3).random((100_000, 2), np.float32)
    result = client.infer("adder", inputs_of(triton, {"x": rows}))
    np.testing.assert_array_equal(result.as_numpy("y"), rows + np.float32(200))


with triton.InferenceServerClient(ADDRESS, concurrency=8) as client:
    run(client)
