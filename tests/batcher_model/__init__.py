"""A model of the contract of the batcher, for tests with generated sequences of events."""
