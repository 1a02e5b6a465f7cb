"""Run batches: model threads, lanes, staging buffers, warm-up and the decode pool."""
