"""The naive baseline: Flask's own server, one session, one request at a time."""

import served_model
from flask import Flask, Response, request

app = Flask(__name__)
predict = served_model.load()


@app.post("/")
def answer():
    return Response(
        predict([served_model.decode(request.get_data())])[0], mimetype="application/json"
    )


app.run("127.0.0.1", served_model.PORT, threaded=False)
