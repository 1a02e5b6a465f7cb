"""Turn image files into the input of a model.  Knows no engine."""
