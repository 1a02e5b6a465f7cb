"""HTTP endpoints, and the dialects: the bytes of a request to a call, its result to bytes."""
