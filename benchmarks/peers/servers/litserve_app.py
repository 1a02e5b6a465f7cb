"""LitServe: JSON with a base64 body, as its image examples do."""

import base64
import os

import litserve
import served_model
from fastapi import Response


class Api(litserve.LitAPI):
    def setup(self, device):
        self.net = served_model.load()

    def decode_request(self, request):
        return served_model.decode(base64.b64decode(request["body"]))

    def batch(self, inputs):
        return inputs

    def predict(self, x):
        return self.net(x)

    def unbatch(self, output):
        return output

    def encode_response(self, output):
        return Response(output, media_type="application/json")


if __name__ == "__main__":
    server = litserve.LitServer(
        Api(max_batch_size=served_model.BATCH, batch_timeout=served_model.WAIT_MS / 1000),
        accelerator="cpu",
        workers_per_device=served_model.WORKERS,
        timeout=served_model.TIMEOUT_MS / 1000 or 120,
        fast_queue="PEER_FAST_QUEUE" in os.environ,
    )
    server.run(
        host="127.0.0.1",
        port=served_model.PORT,
        num_api_servers=1,
        log_level="warning",
        generate_client_file=False,
    )
