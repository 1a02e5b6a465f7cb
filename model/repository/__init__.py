"""Models on disk: their files, versions, model.toml, serving.toml, labels, cache, run times."""
