"""Models on disk: the kinds of files, model.toml, labels, the cache and measured run times."""
