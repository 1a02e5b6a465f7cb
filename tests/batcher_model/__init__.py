"""A model of the batcher that knows what must hold, for tests that try sequences of events."""
