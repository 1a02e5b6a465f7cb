"""
Check the addresses to listen on: whether this process could bind them now, and what prevents it.

A TCP address is bound for a moment and never listens, so that no client notices it.
"""

import errno
import os
import re
import socket
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from server.doctor.finding import Finding, fault, ok
from server.doctor.machine import Machine, read_text
from server.http.listen_addresses import Address, AddressError, check_address

LISTEN = "listen"

_TCP_KINDS = ("tcp", "tcp6", "ssl", "tls")
_LISTENING = "0A"  # the state in /proc/net/tcp


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that has the address."""

    pid: int
    name: str


@dataclass(frozen=True, slots=True)
class AddressFacts:
    """One address to listen on, and why it cannot be bound."""

    description: str
    error: OSError | AddressError | None = None
    #: the process that has the address; None if there is none, or if it cannot be found
    holder: Holder | None = None
    stale: bool = False  #: whether a socket file is left by a process that has ended


def read_address(machine: Machine, description: str) -> AddressFacts:
    """Return the facts about the endpoint *description*."""
    try:
        address = check_address(description)
        if address.kind in _TCP_KINDS:
            _bind(address)
        elif address.kind == "unix":
            return _unix_facts(machine.root, description, address)
    except (OSError, AddressError) as error:
        is_taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        inodes = _tcp_inodes(machine.root, int(address.parts["port"])) if is_taken else set()
        return AddressFacts(description, error, _holder(machine.root, inodes))
    return AddressFacts(description)


def check_listening(facts: AddressFacts, option: str) -> Finding:
    """Decide whether the server could listen; *option* is the one that names the address."""
    error = facts.error
    if error is None or (facts.holder is not None and facts.holder.pid == os.getpid()):
        return ok(LISTEN, facts.description)
    if isinstance(error, AddressError):
        return fault(
            LISTEN,
            f"{facts.description}: {error}",
            f"correct {option}, as in {option} tcp:12480:interface=127.0.0.1",
        )
    found = f"{facts.description}: {error.strerror or error}"
    if facts.holder is not None:
        pid = facts.holder.pid
        return fault(
            LISTEN,
            f"{found}: process {pid} ({facts.holder.name}) listens there",
            f"kill {pid} ends that process; or choose another address with {option}",
        )
    return fault(LISTEN, found, _remedy(facts, option))


def _remedy(facts: AddressFacts, option: str) -> str:
    """Return the remedy for an address that no process of this user is known to have."""
    code = getattr(facts.error, "errno", None)
    path = getattr(facts.error, "filename", None) or ""
    if facts.stale:
        return f"rm {path}, or add :lockfile=1 to the address"
    if code == errno.EADDRINUSE:
        return f"sudo ss -tlnp lists the processes; or choose another address with {option}"
    if code == errno.EACCES and not path:
        return (
            "choose a port from 1024 on, or permit it: systemd "
            "AmbientCapabilities=CAP_NET_BIND_SERVICE, docker run --cap-add NET_BIND_SERVICE"
        )
    if code == errno.ENOENT:
        return f"mkdir -p {path}"
    if path:
        return f"choose another path with {option}"
    return f"ip address lists the addresses of this machine; choose one of them with {option}"


def _bind(address: Address) -> None:
    """Bind the TCP *address* and close it again; raises OSError if that is not possible."""
    interface = address.parts.get("interface", "")
    is_v6 = address.kind == "tcp6" or ":" in interface
    family = socket.AF_INET6 if is_v6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As the server does: without it, connections that have ended block the address.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((interface, int(address.parts["port"])))


def _unix_facts(root: Path, description: str, address: Address) -> AddressFacts:
    """Return the facts about the path of a unix socket; raises OSError if it cannot be used."""
    path = Path(address.parts["address"])
    folder = path.absolute().parent
    if not folder.is_dir():
        return AddressFacts(
            description, OSError(errno.ENOENT, "the folder does not exist", str(folder))
        )
    if not os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
        return AddressFacts(
            description, OSError(errno.EACCES, "the folder is not writable", str(folder))
        )
    if not os.path.lexists(path):
        return AddressFacts(description)
    if not stat.S_ISSOCK(path.lstat().st_mode):
        return AddressFacts(
            description, OSError(errno.EEXIST, "there is a file that is no socket", str(path))
        )
    holder = _holder(root, _unix_inodes(root, path))
    if holder is None and address.parts.get("lockfile") == "1":
        return AddressFacts(description)  # the server removes the socket of one that was killed
    left = OSError(errno.EADDRINUSE, "there is a socket", str(path))
    return AddressFacts(description, left, holder, stale=holder is None)


def _tcp_inodes(root: Path, port: int) -> set[str]:
    """Return the inodes of the sockets that listen on *port*."""
    lines = [
        line.split()
        for name in ("tcp", "tcp6")
        for line in read_text(root / "proc/net" / name).splitlines()[1:]
    ]
    end = f":{port:04X}"
    return {it[9] for it in lines if len(it) > 9 and it[1].endswith(end) and it[3] == _LISTENING}


def _unix_inodes(root: Path, path: Path) -> set[str]:
    """Return the inodes of the sockets that are bound to *path*."""
    lines = [line.split() for line in read_text(root / "proc/net/unix").splitlines()[1:]]
    return {it[6] for it in lines if len(it) > 7 and Path(it[7]).absolute() == path.absolute()}


def _holder(root: Path, inodes: set[str]) -> Holder | None:
    """Return the process that has one of the sockets *inodes*, if this user may see it."""
    links = {f"socket:[{inode}]" for inode in inodes}
    if not links:
        return None
    for folder in (root / "proc").glob("[0-9]*"):
        with suppress(OSError):
            if any(str(link.readlink()) in links for link in (folder / "fd").iterdir()):
                name = re.sub(r"\s+", " ", read_text(folder / "comm")).strip()
                return Holder(int(folder.name), name)
    return None
