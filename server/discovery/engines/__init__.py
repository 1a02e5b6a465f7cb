"""The registries of workers: one module for each kind."""
