"""
Refuse new connections at a listening socket whose queue still has to be emptied.

Linux runs a filter, which is a small program of the classic Berkeley Packet Filter, on each packet
for a socket.  The one here drops each packet that opens a connection, so that no more of them reach
the queue.  The client sends that packet again after a second, and then it is refused, or it reaches
another process that listens on the port.  Handshakes that have begun are completed.  Imports no
Twisted.
"""

import ctypes
import socket
import struct
import sys
from collections.abc import Sequence
from contextlib import suppress

#: From asm-generic/socket.h; Python has no names for them.
_SO_ATTACH_FILTER = 26
_SO_DETACH_FILTER = 27

#: Opcodes, from linux/bpf_common.h.
_LOAD_BYTE = 0x30  # BPF_LD | BPF_B | BPF_ABS: load the byte at offset k
_SKIP_BY_BITS = 0x45  # BPF_JMP | BPF_JSET | BPF_K: if a bit of k is set, skip jt, else jf
_RETURN = 0x06  # BPF_RET | BPF_K: keep k bytes of the packet; 0 drops it

#: At a TCP socket a packet begins with the header of TCP; its byte 13 has the flags.
_FLAGS_OFFSET = 13
_SYN = 0x02
_WHOLE_PACKET = 0xFFFFFFFF

#: Instructions (opcode, jt, jf, k).
_DROP_SYN: Sequence[tuple[int, int, int, int]] = (
    (_LOAD_BYTE, 0, 0, _FLAGS_OFFSET),
    (_SKIP_BY_BITS, 0, 1, _SYN),
    (_RETURN, 0, 0, 0),
    (_RETURN, 0, 0, _WHOLE_PACKET),
)


def refuse_new_connections(listener: socket.socket) -> bool:
    """
    Let no new connection reach the queue of *listener*; return whether that could be done.

    It applies to each process that listens on the same socket, until `take_new_connections`.
    """
    if sys.platform != "linux" or listener.family not in (socket.AF_INET, socket.AF_INET6):
        return False
    program = b"".join(struct.pack("=HBBI", *instruction) for instruction in _DROP_SYN)
    memory = ctypes.create_string_buffer(program)
    # struct sock_fprog: the number of instructions, and their address.
    described = struct.pack("@HP", len(_DROP_SYN), ctypes.addressof(memory))
    try:
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, described)
    except OSError:  # a sandbox may forbid it
        return False
    return True


def take_new_connections(listener: socket.socket) -> None:
    """Undo `refuse_new_connections`; do nothing if it was not called."""
    if sys.platform == "linux":
        with suppress(OSError):  # there is no filter
            listener.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)
