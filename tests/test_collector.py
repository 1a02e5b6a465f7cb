"""What the garbage collector no longer looks at: server/process/collector.py."""

import gc
from weakref import ref

from server.process.collector import freeze_startup_objects


class Ring:
    """Refers to itself, so that only a collection ends it."""

    def __init__(self) -> None:
        self.itself = self


def test_what_is_there_when_all_is_loaded_is_never_looked_at_again() -> None:
    """What was garbage by then is gone, and what comes later is collected as ever."""
    frozen = gc.get_freeze_count()
    kept, garbage = Ring(), ref(Ring())
    freeze_startup_objects()
    try:
        assert garbage() is None
        assert gc.get_freeze_count() > frozen
        assert not any(each is kept for each in gc.get_objects())
        later = ref(Ring())
        gc.collect()
        assert later() is None
    finally:
        gc.unfreeze()
