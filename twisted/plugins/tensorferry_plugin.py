"""Let ``twistd tensorferry`` find the server."""

from twisted.application.service import ServiceMaker

tensorferry = ServiceMaker(
    "TensorFerry", "tensorferry.tap", "A micro-batching inference server", "tensorferry"
)
