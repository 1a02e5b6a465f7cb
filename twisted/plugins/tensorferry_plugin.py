"""Register the server and the registry as plugins of twistd."""

from twisted.application.service import ServiceMaker

tensorferry = ServiceMaker(
    "TensorFerry", "tensorferry.tap", "A micro-batching inference server", "tensorferry"
)
registry = ServiceMaker(
    "TensorFerry's registry",
    "tensorferry.registry_tap",
    "A registry of inference servers",
    "tensorferry-registry",
)
