"""Errors for an image file that cannot become the input of a model."""

from batcher.error_kind import ErrorKind, RequestError


class BadImage(RequestError, ValueError):
    """The bytes of an image cannot be turned into pixels; the message gives the reason."""

    kind = ErrorKind.INVALID


class NotAnImage(BadImage):
    """The bytes are not an image in a format that the server reads."""

    def __init__(self, found: str, size: int) -> None:
        super().__init__(f"{found} ({size} bytes) is not a JPEG, PNG, GIF, BMP or WebP image")


class TruncatedImage(BadImage):
    """The image file is cut short: a part of its header or of its pixels is missing."""

    def __init__(self, kind: str, size: int) -> None:
        super().__init__(f"the {kind} image is cut short: it ends after {size} bytes")


class TooManyPixels(BadImage):
    """The image has more pixels than this server decodes."""

    kind = ErrorKind.TOO_LARGE

    def __init__(self, width: int, height: int, limit: int) -> None:
        pixels = width * height
        super().__init__(f"{width} x {height} is {pixels} pixels, over the limit of {limit}")
        self.width = width
        self.height = height
        self.limit = limit


class SideTooLong(TooManyPixels):
    """The number of pixels is within its limit, but a side has more pixels than a side may have."""

    def __init__(self, width: int, height: int, limit: int) -> None:
        super().__init__(width, height, limit)
        self.args = (f"{width} x {height} has a side over the limit of {limit} pixels",)
