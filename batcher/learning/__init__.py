"""Pure estimates that the batcher learns from its runs: service time, drift, arrivals, returns."""
