"""TensorFerry, an async micro-batching inference server: the public import."""

__version__ = "0.1.0"
