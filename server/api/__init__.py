"""HTTP endpoints, and the dialects, which convert a body to a call and its result to a body."""
