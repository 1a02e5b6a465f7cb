"""mosec: a decoding stage and a batched stage (its docs: split stages, batch the last)."""

import served_model
from mosec import Server, Worker


class Raw(Worker):
    def deserialize(self, data):
        return data

    def serialize(self, data):
        return data


class Decode(Raw):
    def forward(self, data):
        return served_model.decode(data)


class Predict(Raw):
    def __init__(self):
        super().__init__()
        self.predict = served_model.load()

    def forward(self, data):
        return self.predict(data)


class DecodeAndPredict(Predict):
    def forward(self, data):
        return self.predict([served_model.decode(body) for body in data])


if __name__ == "__main__":
    server = Server()
    batch = {
        "num": served_model.WORKERS,
        "max_batch_size": served_model.BATCH,
        "max_wait_time": int(served_model.WAIT_MS),
        "timeout": 60,
    }
    if served_model.KIND == "net" and served_model.DECODERS:
        server.append_worker(Decode, num=served_model.DECODERS, timeout=60)
        server.append_worker(Predict, **batch)
    else:
        server.append_worker(DecodeAndPredict, **batch)
    server.run()
