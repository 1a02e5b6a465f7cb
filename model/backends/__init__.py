"""The engines that run a model, one module or package each."""
