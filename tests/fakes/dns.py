"""Workers for a zone of the DNS, and questions about it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from twisted.names import dns

from server.discovery.members import Members
from server.discovery.worker_record import WorkerRecord

ZONE = "tf.test"

#: The name of all workers.
ALL = f"_tensorferry._tcp.{ZONE}"


@dataclass(slots=True)
class Workers:
    """The workers of one source."""

    listed: Sequence[WorkerRecord] = ()
    sources: list[Members] = field(default_factory=list)

    def merged(self) -> Sequence[WorkerRecord]:
        """Return the workers."""
        return self.listed


def question(
    name: str, kind: int = dns.SRV, *, edns: int | None = None, opt: int = 1, version: int = 0
) -> bytes:
    """Return a message that asks for *name*; *edns* is the size of the answers over UDP."""
    message = dns.Message(id=7, recDes=1)
    message.addQuery(name, kind)
    if edns is not None:
        option = dns.RRHeader(b"", dns.OPT, cls=edns, ttl=version << 16)
        message.additional = [option] * opt
    return message.toStr()


def fleet(size: int) -> list[WorkerRecord]:
    """Return workers on as many hosts."""
    return [WorkerRecord(f"w{n}", f"198.51.{n // 250}.{n % 250}", 8000) for n in range(size)]
