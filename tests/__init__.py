"""Tests of TensorFerry; fakes live in support.py."""
