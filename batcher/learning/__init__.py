"""Pure estimates that the batcher learns: run times, drift, arrivals, returns, margin."""
