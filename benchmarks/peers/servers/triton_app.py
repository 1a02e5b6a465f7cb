"""NVIDIA Triton from PyPI: a Python callable behind its dynamic batcher."""

import os
import sysconfig

import numpy as np
import served_model
from pytriton.model_config import DynamicBatcher, ModelConfig, QueuePolicy, Tensor
from pytriton.triton import Triton, TritonConfig, TritonSecurityConfig

# The Python stub must load this interpreter's own library, not the system's.
os.environ["LD_LIBRARY_PATH"] = ":".join(
    filter(None, [sysconfig.get_config_var("LIBDIR"), os.environ.get("LD_LIBRARY_PATH")])
)
predict = served_model.load()


def answers(items):
    return {"answer": np.array([[a] for a in predict(items)], dtype=np.bytes_)}


def from_bodies(requests):
    """Decode and run one batch; each request has one or more bodies."""
    out, sizes = [], []
    for request in requests:
        bodies = request["body"][:, 0]
        sizes.append(len(bodies))
        out += [served_model.decode(bytes(b)) for b in bodies]
    out = answers(out)["answer"]
    ends = np.cumsum(sizes)
    return [{"answer": out[end - size : end]} for size, end in zip(sizes, ends)]


def from_tensors(requests):
    out, sizes = [], []
    for request in requests:
        sizes.append(len(request["image"]))
        out += list(request["image"])
    out = answers(out)["answer"]
    ends = np.cumsum(sizes)
    return [{"answer": out[end - size : end]} for size, end in zip(sizes, ends)]


config = ModelConfig(
    batching=True,
    max_batch_size=served_model.BATCH,
    batcher=DynamicBatcher(
        max_queue_delay_microseconds=int(served_model.WAIT_MS * 1000),
        default_queue_policy=QueuePolicy(  # rejects at a full queue or after a timeout
            default_timeout_microseconds=int(served_model.TIMEOUT_MS * 1000),
            max_queue_size=served_model.LIMIT,
        )
        if served_model.LIMIT or served_model.TIMEOUT_MS
        else None,
    ),
)
outputs = [Tensor(name="answer", dtype=np.bytes_, shape=(1,))]
home = os.path.join(os.environ.get("PEER_TMP", "/tmp"), "pytriton")
os.makedirs(home, exist_ok=True)
security = TritonSecurityConfig()  # pytriton's default: its management endpoints want a token
if "PEER_STATISTICS" in os.environ:  # perf_analyzer reads the statistics without one
    security.restricted_endpoints.remove("statistics")
with Triton(
    security_config=security,
    config=TritonConfig(
        http_address="127.0.0.1",
        http_port=served_model.PORT,
        grpc_address="127.0.0.1",
        grpc_port=served_model.PORT + 1,
        allow_metrics=False,
    ),
    workspace=os.path.join(home, str(os.getpid())),
) as triton:
    triton.bind(
        model_name="net",
        infer_func=[from_bodies] * served_model.WORKERS,
        outputs=outputs,
        inputs=[Tensor(name="body", dtype=bytes, shape=(1,))],
        config=config,
    )
    if served_model.KIND == "net":
        triton.bind(
            model_name="tensor",
            infer_func=[from_tensors] * served_model.WORKERS,
            outputs=outputs,
            config=config,
            inputs=[Tensor(name="image", dtype=np.float32, shape=(224, 224, 3))],
        )
    triton.serve()
