"""Run a model while it loads, to find out what it takes and whether its rows are independent."""
