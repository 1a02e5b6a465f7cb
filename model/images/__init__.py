"""Turn image files into what a model takes.  Knows no engine."""
