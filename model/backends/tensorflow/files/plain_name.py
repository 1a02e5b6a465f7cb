"""
Give TensorFlow a folder by a name that it takes as it stands.

TensorFlow takes `[`, `*`, `?` and `{` in a path for a pattern, and a name that is no UTF-8 for an
error.  Linux has a name for each open folder, which holds none of these.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def plain_name(folder: Path) -> Iterator[Path]:
    """
    Provide a path of ASCII letters, digits and slashes for *folder*, until the end of the block.

    It holds for this process alone, on any thread.  Raises OSError where *folder* cannot be opened.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        plain = Path(f"/proc/self/fd/{descriptor}")
        yield plain if plain.exists() else folder  # a sandbox may have no /proc
    finally:
        os.close(descriptor)
