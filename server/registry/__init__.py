"""The registry process: which workers there are, and the next one for a request."""
