"""KServe's Python SDK over REST, with version 1 and version 2 of the protocol."""

import asyncio

import httpx
import numpy as np
from cases import ADDRESS, async_refusal, case, main
from kserve import InferInput, InferRequest
from kserve.inference_client import InferenceRESTClient, RESTConfig
from kserve.protocol.infer_type import RequestedOutput

URL = f"http://{ADDRESS}"
PAIRS = np.array([[1, 2], [4, 5]], np.float32)
MEASURES = [[6.8, 2.8, 4.8, 1.4], [6.0, 3.4, 4.5, 1.6]]


def request(*, binary, outputs=None, **options):
    """Return a request of the second version to the model adder."""
    infer_input = InferInput("x", list(PAIRS.shape), "FP32")
    infer_input.set_data_from_numpy(PAIRS, binary_data=binary)
    return InferRequest("adder", [infer_input], request_outputs=outputs, **options)


@case
async def health_of_version_1(clients):
    client = clients["v1"]
    assert await client.is_server_live(URL)
    assert await client.is_model_ready(URL, "iris") is True
    error = await async_refusal(httpx.HTTPStatusError, client.is_model_ready(URL, "missing"))
    assert "404" in error


@case
async def prediction_of_version_1(clients):
    client = clients["v1"]
    answer = await client.infer(URL, {"instances": MEASURES}, model_name="iris")
    assert answer == {"predictions": [1, 1]}
    headers = {}
    await client.infer(URL, {"inputs": MEASURES}, model_name="iris", response_headers=headers)
    assert headers["content-type"] == "application/json"


@case
async def errors_of_version_1(clients):
    client = clients["v1"]
    awaitable = client.infer(URL, {"instances": [[1, 2]]}, model_name="iris")
    error = await async_refusal(httpx.HTTPStatusError, awaitable)
    assert "Error: Expecting tensor size" in error or "400" in error
    awaitable = client.infer(URL, {"instances": MEASURES}, model_name="missing")
    assert "Servable not found" in await async_refusal(httpx.HTTPStatusError, awaitable)
    awaitable = client.explain(URL, "iris", {"instances": MEASURES})
    assert "400" in await async_refusal(httpx.HTTPStatusError, awaitable)


@case
async def health_of_version_2(clients):
    client = clients["v2"]
    assert await client.is_server_live(URL) is True
    assert await client.is_server_ready(URL) is True
    assert await client.is_model_ready(URL, "adder")
    assert not await client.is_model_ready(URL, "missing")


@case
async def json_of_version_2(clients):
    answer = await clients["v2"].infer(URL, request(binary=False), model_name="adder")
    assert answer.model_name == "adder"
    np.testing.assert_array_equal(answer.outputs[0].as_numpy(), PAIRS + 200)
    content = {
        "inputs": [{"name": "input-0", "shape": [2, 4], "datatype": "FP32", "data": MEASURES}]
    }
    answer = await clients["v2"].infer(URL, content, model_name="iris")
    assert answer.outputs[0].data == [1, 1]


@case
async def binary_of_version_2(clients):
    client = clients["v2"]
    answer = await client.infer(
        URL,
        request(binary=True, request_id="7", parameters={"binary_data_output": True}),
        model_name="adder",
    )
    assert answer.id == "7"
    np.testing.assert_array_equal(answer.outputs[0].as_numpy(), PAIRS + 200)
    outputs = [RequestedOutput("y", {"binary_data": True})]
    answer = await client.infer(URL, request(binary=True, outputs=outputs), model_name="adder")
    np.testing.assert_array_equal(answer.outputs[0].as_numpy(), PAIRS + 200)


@case
async def types_of_version_2(clients):
    """FP16 in binary, strings and flags as JSON and in binary."""
    values = {
        "half": np.array([[0.5, -65504]], np.float16),
        "text": np.array([[b"a", "é".encode()]], object),
        "flag": np.array([[True, False]]),
        "whole": np.array([[-(2**63), 2**63 - 1]], np.int64),
    }
    # KServe's SDK has no BF16.
    zeros = {"name": "brain", "shape": [1, 2], "datatype": "BF16"}
    for binary in (True, False):
        inputs = []
        for name, datatype in (
            ("half", "FP16"),
            ("text", "BYTES"),
            ("flag", "BOOL"),
            ("whole", "INT64"),
        ):
            inputs.append(InferInput(name, [1, 2], datatype))
            inputs[-1].set_data_from_numpy(values[name], binary_data=binary or name == "half")
        inputs.append(InferInput(**zeros, parameters={"binary_data_size": 4}))
        inputs[-1]._raw_data = bytes(4)
        names = [f"{name}_out" for name in values]
        outputs = [RequestedOutput(name, {"binary_data": True}) for name in names]
        asked = InferRequest("types", inputs, request_outputs=outputs)
        answer = await clients["v2"].infer(URL, asked, model_name="types")
        for name, output in zip(values, answer.outputs, strict=True):
            # The SDK decodes the strings of an answer.
            expected = np.array([["a", "é"]], object) if name == "text" else values[name]
            np.testing.assert_array_equal(output.as_numpy(), expected)


@case
async def errors_of_version_2(clients):
    client = clients["v2"]
    error = await async_refusal(
        httpx.HTTPStatusError, client.infer(URL, request(binary=True), model_name="missing")
    )
    assert "Request for unknown model: 'missing' is not found" in error
    error = await async_refusal(
        httpx.HTTPStatusError, client.infer(URL, request(binary=True), model_name="iris")
    )
    assert "unexpected inference input 'x'" in error


async def session():
    """Run all cases with a client of each version."""
    clients = {
        version: InferenceRESTClient(RESTConfig(protocol=version)) for version in ("v1", "v2")
    }
    await main(clients)
    for client in clients.values():
        await client.close()


asyncio.run(session())
