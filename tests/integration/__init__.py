"""Tests with real sockets, real TensorFlow and real twistd."""
