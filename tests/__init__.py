"""Tests of TensorFerry; the fakes are in `tests.fakes`."""
