"""Ray Serve: one replica with @serve.batch behind its HTTP proxy."""

import asyncio
import os
import signal
from concurrent.futures import ThreadPoolExecutor

import ray
import served_model
from ray import serve
from starlette.requests import Request
from starlette.responses import Response


@serve.deployment(
    num_replicas=served_model.WORKERS,
    max_ongoing_requests=int(os.environ.get("PEER_ONGOING", "1024")),
    max_queued_requests=served_model.LIMIT or -1,
    ray_actor_options={"num_cpus": 0.5},
)
class Net:
    def __init__(self):
        self.predict = served_model.load()
        self.decoders = ThreadPoolExecutor(max(served_model.DECODERS, 1))
        self.runner = ThreadPoolExecutor(1)

    @serve.batch(
        max_batch_size=served_model.BATCH, batch_wait_timeout_s=served_model.WAIT_MS / 1000
    )
    async def batch(self, items):
        if served_model.KIND != "net":
            return self.predict(items)
        return await asyncio.get_running_loop().run_in_executor(self.runner, self.predict, items)

    async def __call__(self, request: Request):
        item = await request.body()
        if served_model.KIND == "net":
            item = await asyncio.get_running_loop().run_in_executor(
                self.decoders, served_model.decode, item
            )
        return Response(await self.batch(item), media_type="application/json")


ray.init(
    num_cpus=2,
    include_dashboard=False,
    object_store_memory=256 << 20,
    runtime_env={"env_vars": {"PYTHONPATH": os.environ["PYTHONPATH"]}},
    _temp_dir=os.environ.get("PEER_TMP"),
)
serve.start(
    http_options={
        "host": "127.0.0.1",
        "port": served_model.PORT,
        "request_timeout_s": served_model.TIMEOUT_MS / 1000 or None,
    },
    logging_config={"enable_access_log": False, "log_level": "ERROR"},
)
serve.run(Net.bind(), route_prefix="/")
signal.sigwait([signal.SIGTERM, signal.SIGINT])
serve.shutdown()
ray.shutdown()
