"""tritonclient.http.aio, the client of asyncio."""

import asyncio
from itertools import product

import numpy as np
import tritonclient.http.aio as triton
from cases import ADDRESS, TOKEN, async_refusal, case, main
from triton_inputs import (
    PAIRS,
    PHOTO,
    TYPES,
    check_several,
    inputs_of,
    outputs_of,
    several_inputs,
)
from tritonclient.utils import InferenceServerException


@case
async def health_and_metadata(client):
    assert await client.is_server_live()
    assert await client.is_server_ready()
    assert await client.is_model_ready("adder", "1")
    assert not await client.is_model_ready("missing")
    assert (await client.get_server_metadata())["name"] == "tensorferry"
    assert (await client.get_model_metadata("several"))["versions"] == ["1"]
    assert (await client.get_model_config("several"))["name"] == "several"


@case
async def binary_and_json(client):
    named = (None, ["sum"])
    for binary_in, binary_out, names in product((True, False), (True, False), named):
        inputs = several_inputs(triton, binary=binary_in)
        outputs = names and outputs_of(triton, names, binary=binary_out)
        check_several(await client.infer("several", inputs, outputs=outputs), names)


@case
async def compression(client):
    for request, response in product((None, "gzip", "deflate"), repeat=2):
        rows = np.tile(PAIRS, (200, 1))
        result = await client.infer(
            "adder",
            inputs_of(triton, {"x": rows}),
            request_compression_algorithm=request,
            response_compression_algorithm=response,
        )
        np.testing.assert_array_equal(result.as_numpy("y"), rows + 200)


@case
async def types(client):
    result = await client.infer("types", inputs_of(triton, TYPES))
    for name, values in TYPES.items():
        np.testing.assert_array_equal(result.as_numpy(f"{name}_out"), values)


@case
async def classes(client):
    inputs = inputs_of(triton, {"image": np.array([PHOTO], object)})
    outputs = [triton.InferRequestedOutput("scores", class_count=3)]
    found = (await client.infer("photos", inputs, outputs=outputs)).as_numpy("scores")
    assert found[0, 0].decode().endswith(":1:green")


@case
async def statistics(client):
    (found,) = (await client.get_inference_statistics("several"))["model_stats"]
    assert found["inference_stats"]["success"]["count"] > 0


@case
async def repository(client):
    index = await client.get_model_repository_index()
    assert {"name": "adder", "version": "2", "state": "READY", "reason": ""} in index
    error = await async_refusal(InferenceServerException, client.unload_model("movable"))
    assert "[401]" in error
    await client.unload_model("movable", headers=TOKEN)
    await client.load_model("movable", headers=TOKEN)
    assert await client.is_model_ready("movable")


@case
async def several_at_once(client):
    async def ask():
        check_several(await client.infer("several", several_inputs(triton, binary=True)))

    await asyncio.gather(*[ask() for _ in range(50)])


@case
async def errors(client):
    inputs = several_inputs(triton, binary=True)
    error = await async_refusal(InferenceServerException, client.infer("missing", inputs))
    assert error.startswith("[404] Request for unknown model: 'missing' is not found")
    inputs = inputs_of(triton, {"x": PAIRS[:, :1]})
    error = await async_refusal(InferenceServerException, client.infer("adder", inputs))
    assert "[400] unexpected shape for input 'x'" in error
    awaitable = client.infer("several", several_inputs(triton, binary=True), timeout=1)
    error = await async_refusal(InferenceServerException, awaitable)
    assert "[503]" in error or "[504]" in error, error


async def session():
    """Run all cases with one client."""
    async with triton.InferenceServerClient(ADDRESS, conn_limit=8) as client:
        await main(client)


asyncio.run(session())
