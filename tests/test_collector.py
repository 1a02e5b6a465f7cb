"""Objects excluded from garbage collection: server/process/collector.py."""

import gc
from weakref import ref

from server.process.collector import freeze_startup_objects


class Ring:
    """An object that refers to itself, so that only a collection frees it."""

    def __init__(self) -> None:
        self.itself = self


def test_existing_objects_are_excluded_from_later_collections() -> None:
    """Garbage is freed first, and later objects are collected as usual."""
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
