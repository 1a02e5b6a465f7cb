"""ovmsclient, the client of OpenVINO Model Server's TensorFlow Serving API over HTTP."""

import numpy as np
from cases import ADDRESS, case, refusal, run
from ovmsclient import ModelNotFoundError, make_http_client
from ovmsclient.tfs_compat.base.errors import InvalidInputError, ModelServerError


@case
def predict(client):
    rows = np.array([[1, 2], [4, 5]], np.float32)
    np.testing.assert_array_equal(client.predict({"x": rows}, "adder"), rows + 200)
    for version in (1, 2):
        found = client.predict({"x": rows}, "adder", version)
        np.testing.assert_array_equal(found, rows + 100 * version)


@case
def predict_with_several_outputs(client):
    inputs = {"a": np.array([[1, 2], [4, 5]], np.float32), "b": np.array([10, 20], np.int32)}
    found = client.predict(inputs, "several")
    np.testing.assert_array_equal(found["sum"], [[11, 12], [24, 25]])
    np.testing.assert_array_equal(found["product"], [2, 8])


@case
def status(client):
    available = {"state": "AVAILABLE", "error_code": 0, "error_message": ""}
    assert client.get_model_status("adder") == {1: available, 2: available}
    assert client.get_model_status("adder", 1) == {1: available}


@case
def metadata(client):
    content = client.get_model_metadata("several")
    signature = content["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["inputs"]["b"]["dtype"] == "DT_INT32"
    assert content["model_spec"]["version"] == "1"


@case
def errors(client):
    rows = np.array([[1, 2]], np.float32)
    refusal(ModelNotFoundError, client.predict, {"x": rows}, "missing")
    refusal(ModelNotFoundError, client.predict, {"x": rows}, "adder", 7)
    refusal(ModelNotFoundError, client.get_model_status, "missing")
    refusal(InvalidInputError, client.predict, {"x": rows[:, :1]}, "adder")
    assert issubclass(InvalidInputError, ModelServerError)


run(make_http_client(ADDRESS))
