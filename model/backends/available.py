"""
List the engines that load models.

The only module outside an engine's own package that names that engine.  Importing it imports no
engine.
"""

from model.backend import Backend
from model.backends.tensorflow.backend import TensorFlowBackend

#: In the order in which they are asked for the model at a path.  TensorFlow comes last, because it
#: takes a file of an unknown format for a frozen graph.  The last one provides the default model.
BACKENDS: tuple[Backend, ...] = (TensorFlowBackend(),)
