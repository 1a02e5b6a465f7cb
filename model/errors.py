"""Errors of loading and running a model, which the server answers to people."""


class ModelError(Exception):
    """A model cannot be loaded or served; the message says what to change, in one line."""


class RowsRefused(ValueError):
    """The model does not take these values, though dtype and shape fit; the message says why."""
