"""BentoML: an API whose requests its adaptive batcher batches."""

import base64

import bentoml
import served_model


@bentoml.service(
    workers=served_model.WORKERS,
    logging={"access": {"enabled": False}},
    traffic={
        "timeout": 120,
        **({"max_concurrency": served_model.LIMIT} if served_model.LIMIT else {}),
    },
)
class Net:
    def __init__(self):
        self.predict = served_model.load()

    @bentoml.api(
        batchable=True, max_batch_size=served_model.BATCH, max_latency_ms=int(served_model.WAIT_MS)
    )
    def answer(self, bodies: list[str]) -> list[str]:
        return [
            a.decode()
            for a in self.predict([served_model.decode(base64.b64decode(b)) for b in bodies])
        ]
