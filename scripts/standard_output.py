"""
Find out whether an error is one of standard output, which cannot be written on a full disk.

Imports no click, so that each part of a command may use it.
"""

import errno
import os
import sys

#: The errors of a write that names no file, which are those of standard output.
_WRITE_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EPIPE})


def output_problem(error: OSError) -> str:
    """
    Return the error message if *error* is one of a write to standard output; else an empty one.

    What was to be written is dropped then: the interpreter would try to write it again at exit, and
    report the error once more.
    """
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        is_output = True
    else:  # nothing is left to flush: without a buffer, or after a text larger than the buffer
        is_output = error.filename is None and error.errno in _WRITE_ERRORS
    return f"standard output cannot be written: {error.strerror}" if is_output else ""
