"""
Report the model, its signatures and its options: `GET /status`.

Runs on the reactor thread.
"""

from collections.abc import Callable
from math import inf
from typing import Any

from twisted.internet.defer import Deferred, succeed

from model.signature import Feed, Signature, TensorSpec
from server.api.samples import is_short, sample_feed, sample_request
from server.deadlines import DefaultTimeout
from server.http.messages import HTTPRequest, HTTPResponse, json_response
from server.inference import Inference
from server.served_model import ServedModel
from server.workers.sums import group_status


class StatusAPI:
    """Answers `GET /status`."""

    def __init__(
        self,
        inference: Callable[[], Inference],
        group: Callable[[], Deferred[Any]] | None = None,
    ) -> None:
        """
        *inference* returns the `Inference`; until it is ready, raises `ModelNotReady`.

        *group* returns a Deferred of the status of each worker; None: there is only this one.
        """
        self._inference = inference
        self._group = group

    def status(self, request: HTTPRequest) -> Deferred[HTTPResponse]:
        """Answer with the JSON of `status_of`; raises `ModelNotReady` until the model is ready."""
        inference = self._inference()
        content = status_of(inference.model, inference.admission.default_timeout)
        if self._group is None:
            return succeed(json_response(content))
        return self._group().addCallback(
            lambda workers: json_response(group_status(content, workers))
        )


def status_of(model: ServedModel, timeout: DefaultTimeout) -> dict[str, object]:
    """
    Return what `GET /status` reports about *model*, as a JSON object.

    The object includes *timeout*, in seconds: the limit for requests that set no timeout.
    """
    seconds = timeout.seconds
    image_input = model.image_input
    images = image_input and {
        "signature": image_input.requested.name,
        "how": image_input.description,
    }
    return {
        "model": model.full_name,
        "device": model.device,
        "lanes": model.batcher.stats().lanes,
        "default_timeout_s": seconds if seconds < inf else None,
        "labels": len(model.labels),
        "images": images,
        "pictures": images,  # the former key, kept for old clients
        "default_signature": model.default,
        "signatures": {
            name: {
                **signature_facts(
                    signature,
                    model.default,
                    sample_feed(signature, model.image_input, model.samples),
                ),
                "max_batch_size": model.cap(name),
            }
            for name, signature in model.signatures.items()
        },
    }


def signature_facts(signature: Signature, default: str, sample: Feed | str) -> dict[str, object]:
    """
    Return the inputs and outputs of *signature*, and whether its requests share batches.

    If *sample* is a feed, add its `sample_request` as "sample", unless that is long; *default* is
    the name of the default signature.  If *sample* is a text, it is the reason why there is no
    sample; add it as "no_sample".
    """
    facts: dict[str, object] = {
        "inputs": [_tensor(spec) for spec in signature.inputs],
        "outputs": [_tensor(spec) for spec in signature.outputs],
        "batched": signature.batched,
    }
    if signature.alone:
        facts["alone"] = signature.alone
    if isinstance(sample, str):
        facts["no_sample"] = sample
    elif is_short(sample):
        facts["sample"] = sample_request(sample, default)
    return facts


def _tensor(spec: TensorSpec) -> dict[str, object]:
    return {"name": spec.name, "dtype": spec.type_name, "shape": spec.shape}
