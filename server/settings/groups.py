"""
The groups of settings: the sections of help pages, in this order.

Pure data.
"""

LISTENING = "Where to listen"
MODEL = "The model"
DEVICE = "The device"
BATCHING = "Batching"
LIMITS = "Limits"
HTTP = "HTTP requests and connections"
WORKERS = "Several workers"
RUNNING = "Running"
CONFIGURATION = "Configuration"
GROUPS = (LISTENING, MODEL, DEVICE, BATCHING, LIMITS, HTTP, WORKERS, RUNNING, CONFIGURATION)
