"""TensorFlow Serving's REST API, and version 1 of KServe's protocol, which is a part of it."""
