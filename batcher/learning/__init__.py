"""Pure estimates that the batcher learns: run times, arrivals, returns, the admission margin."""
