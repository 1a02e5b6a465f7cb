"""MLServer: a custom runtime over the V2 protocol with its adaptive batching."""

import json
import os
import sys

import served_model
from mlserver import MLModel, types
from mlserver.codecs import Base64Codec


class Net(MLModel):
    async def load(self):
        self.net = served_model.load()
        return True

    async def predict(self, payload):
        bodies = Base64Codec.decode_input(payload.inputs[0])
        answers = self.net([served_model.decode(body) for body in bodies])
        return types.InferenceResponse(
            model_name=self.name,
            outputs=[
                types.ResponseOutput(
                    name="answer",
                    shape=[len(answers), 1],
                    datatype="BYTES",
                    data=[a.decode() for a in answers],
                )
            ],
        )


if __name__ == "__main__":  # write the settings files, then become the server
    home = os.path.join(os.environ["PEER_TMP"], "mlserver")
    os.makedirs(home, exist_ok=True)
    with open(os.path.join(home, "settings.json"), "w") as file:
        json.dump(
            {
                "host": "127.0.0.1",
                "http_port": served_model.PORT,
                "grpc_port": served_model.PORT + 1,
                "metrics_port": served_model.PORT + 2,
                "parallel_workers": int(os.environ["PEER_PARALLEL"]),
                "debug": False,
            },
            file,
        )
    with open(os.path.join(home, "model-settings.json"), "w") as file:
        json.dump(
            {
                "name": "net",
                "implementation": "mlserver_app.Net",
                "max_batch_size": served_model.BATCH,
                "max_batch_time": served_model.WAIT_MS / 1000,
            },
            file,
        )
    mlserver = os.path.join(os.path.dirname(sys.executable), "mlserver")
    os.execv(mlserver, [mlserver, "start", home])
