"""Errors of loading and running a model; users read the messages."""

from batcher.error_kind import ErrorKind, RequestError


class ModelError(RequestError):
    """A model cannot be loaded or served; the message states what to change, in one line."""

    kind = ErrorKind.INTERNAL


class RowsRefused(RequestError, ValueError):
    """The model refuses values, although dtype and shape fit; the message states the reason."""

    kind = ErrorKind.INVALID
