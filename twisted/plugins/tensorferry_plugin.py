"""Register the server as the plugin ``tensorferry`` of twistd."""

from twisted.application.service import ServiceMaker

tensorferry = ServiceMaker(
    "TensorFerry", "tensorferry.tap", "A micro-batching inference server", "tensorferry"
)
