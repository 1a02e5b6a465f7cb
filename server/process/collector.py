"""
Keep Python's garbage collector from stopping the server while it answers.

A full collection looks at every object there is, and nothing else runs meanwhile: with all that was
imported and loaded that takes a tenth of a second, several times a minute under load.
"""

import gc


def freeze_startup_objects() -> None:
    """
    Let no collection look again at what is there now, which stays until the end anyway.

    To be called once, when all is loaded and before anybody is answered; it takes as long as a
    collection.  For a process of its own: what is frozen is never collected.
    """
    gc.collect()
    gc.freeze()
