"""
Examine the machine and the installation: which faults keep a server from starting or serving well.

Each module reads facts, and decides by a pure function what they mean.  Imports no TensorFlow and
no reactor, so that it works where TensorFlow is absent or broken.
"""
