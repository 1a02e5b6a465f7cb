"""
Give TensorFlow a folder by a name that it takes as it stands.

TensorFlow takes `[`, `*`, `?` and `{` in a path for a pattern, and a name that is no UTF-8 for an
error.  Linux has a name for each open folder, which holds none of these.
"""

import os
import re
import weakref
from pathlib import Path

#: A path that TensorFlow takes as it stands, beyond doubt.
_PLAIN = re.compile(r"/[\w ./+,=@-]*", re.ASCII)


def literal_path(folder: Path, user: object) -> Path:
    """
    Return a path that TensorFlow takes for *folder*, for as long as *user* lives.

    It is the absolute one where that will do; any other holds for this process alone, on any
    thread.  A model may read an asset by it in every run.  Raises OSError where *folder* cannot be
    opened.
    """
    absolute = folder.absolute()
    if _PLAIN.fullmatch(str(absolute)):
        return absolute
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    weakref.finalize(user, os.close, descriptor)
    plain = Path(f"/proc/self/fd/{descriptor}")
    return plain if plain.exists() else absolute  # a sandbox may have no /proc
