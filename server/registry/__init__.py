"""The registry process: which workers there are, and which one takes the next request."""
