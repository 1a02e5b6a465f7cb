"""
Find, for a folder, a path that TensorFlow does not treat as a pattern.

TensorFlow treats a path with `[`, `*`, `?` or `{` as a pattern, and fails for a name that is not
UTF-8.  Linux gives each open folder a path without such characters.
"""

import os
import re
import weakref
from pathlib import Path

#: Paths that TensorFlow certainly takes literally.
_PLAIN = re.compile(r"/[\w ./+,=@-]*", re.ASCII)


def literal_path(folder: Path, user: object) -> Path:
    """
    Return a path of *folder* that TensorFlow takes literally; it is valid until *user* is freed.

    It is the absolute path if TensorFlow takes that literally.  Any other path is valid on all
    threads of this process, but in no other process.  *user* is the object that needs the path: a
    model may read an asset in every run.  Raises OSError if *folder* cannot be opened.
    """
    absolute = folder.absolute()
    if _PLAIN.fullmatch(str(absolute)):
        return absolute
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    weakref.finalize(user, os.close, descriptor)
    plain = Path(f"/proc/self/fd/{descriptor}")
    return plain if plain.exists() else absolute  # a sandbox may have no /proc
