"""Errors of loading and running a model; users read the messages."""


class ModelError(Exception):
    """A model cannot be loaded or served; the message states what to change, in one line."""


class RowsRefused(ValueError):
    """The model refuses values, although dtype and shape fit; the message states the reason."""
