"""
Give TensorFlow a folder by a name that it takes as it stands.

TensorFlow takes `[`, `*`, `?` and `{` in a path for a pattern, and a name that is no UTF-8 for an
error.  Linux has a name for each open folder, which holds none of these.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: A path that TensorFlow takes as it stands, beyond doubt.
_PLAIN = re.compile(r"/[\w ./+,=@-]*", re.ASCII)


@contextmanager
def plain_name(folder: Path) -> Iterator[Path]:
    """
    Provide a path that TensorFlow takes for *folder*, until the end of the block.

    It is the absolute one where that will do, since a model may read an asset by it in every run;
    any other holds for this process alone, on any thread.  Raises OSError where *folder* cannot be
    opened.
    """
    absolute = folder.absolute()
    if _PLAIN.fullmatch(str(absolute)):
        yield absolute
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        plain = Path(f"/proc/self/fd/{descriptor}")
        yield plain if plain.exists() else absolute  # a sandbox may have no /proc
    finally:
        os.close(descriptor)
