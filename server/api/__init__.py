"""One module a dialect: a request's bytes to a call, an answer to bytes."""
