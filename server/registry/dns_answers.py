"""
Answer one DNS message: which code, which sections, and how many records fit.

Pure.  Only questions about the zone are answered; there is no recursion and no zone transfer.  A
message that cannot be read gets no answer.
"""

from dataclasses import dataclass, replace

from twisted.names import dns

from server.registry.dns_zone import WorkerZone, is_host_name

#: The largest message that is read, in bytes; a question has less than 300.
MAX_QUERY_BYTES = 1024

#: The largest answer over UDP, in bytes, for a client that can take it; without EDNS: the least.
#: Larger ones would be fragmented, and sent to others by senders that state a false address.
MAX_UDP_BYTES, MIN_UDP_BYTES = 1232, 512
MAX_TCP_BYTES = 65535

#: The fewest bytes of an SRV record: the header with a compressed name, and a target of one letter.
_MIN_SRV_BYTES = 12 + 6 + 3

_TRANSFERS = (dns.AXFR, dns.IXFR)
_BAD_VERSION = 16
_HEADER_BYTES = dns.Message.headerSize


@dataclass(frozen=True, slots=True)
class _Reply:
    """What an answer has, before it is known how much fits."""

    code: int = dns.OK
    answers: tuple[dns.RRHeader, ...] = ()
    authority: tuple[dns.RRHeader, ...] = ()
    additional: tuple[dns.RRHeader, ...] = ()
    truncated: bool = False


def answer(zone: WorkerZone, data: bytes, *, over_tcp: bool) -> bytes | None:
    """Return the answer to the message *data*; None if it gets none."""
    query = _read(data)
    if query is None:
        return None
    options = [it for it in query.additional if it.type == dns.OPT]
    limit = MAX_TCP_BYTES if over_tcp else MIN_UDP_BYTES
    if options and not over_tcp:
        limit = min(max(options[0].cls, MIN_UDP_BYTES), MAX_UDP_BYTES)
    reply = _reply(zone, query, options, limit)
    return _fitted(query, reply, edns=bool(options), limit=limit)


def _read(data: bytes) -> dns.Message | None:
    """Return the query in *data*; None for anything else: answers to answers would never end."""
    if len(data) > MAX_QUERY_BYTES:
        return None
    query = dns.Message()
    try:
        query.fromStr(data)
    except Exception:  # noqa: BLE001 - Twisted's decoders raise errors of many classes
        return None
    names_can_be_written = all(
        it.name.name == b"" or is_host_name(it.name.name) for it in query.queries
    )
    return query if not query.answer and names_can_be_written else None


def _reply(zone: WorkerZone, query: dns.Message, options: list[dns.RRHeader], limit: int) -> _Reply:
    problem = _problem(zone, query, options)
    if problem != dns.OK:
        return _Reply(problem)
    (question,) = query.queries
    found = zone.find(question.name.name, question.type, limit // _MIN_SRV_BYTES)
    if found is not None and not found.known:
        return _Reply(dns.ESERVER)
    if found is None or not found.answers:
        return _Reply(dns.ENAME if found is None else dns.OK, authority=(zone.soa(),))
    return _Reply(
        answers=tuple(found.answers),
        additional=tuple(found.additional),
        truncated=not found.complete,
    )


def _problem(zone: WorkerZone, query: dns.Message, options: list[dns.RRHeader]) -> int:
    """Return the code of a refusal, or `dns.OK`."""
    if query.opCode != dns.OP_QUERY:
        return dns.ENOTIMP
    if len(query.queries) != 1 or len(options) > 1:
        return dns.EFORMAT
    if options and options[0].ttl >> 16 & 0xFF:
        return _BAD_VERSION
    (question,) = query.queries
    inside = question.cls == dns.IN and zone.covers(question.name.name)
    if not inside or question.type in _TRANSFERS:
        return dns.EREFUSED
    return dns.OK


def _fitted(query: dns.Message, reply: _Reply, *, edns: bool, limit: int) -> bytes:
    """
    Return *reply* in *limit* bytes at most.

    The additional records are left out first: a client can ask for them.  A client that gets only
    some of the answers, or no SOA record, asks again over TCP.
    """
    encoded = _encoded(query, reply, edns=edns)
    if len(encoded) > limit and reply.additional:
        reply = replace(reply, additional=())
        encoded = _encoded(query, reply, edns=edns)
    while len(encoded) > limit and (reply.answers or reply.authority):
        kept = (limit - _HEADER_BYTES) * len(reply.answers) // len(encoded)
        reply = replace(reply, answers=reply.answers[:kept], authority=(), truncated=True)
        encoded = _encoded(query, reply, edns=edns)
    return encoded


def _encoded(query: dns.Message, reply: _Reply, *, edns: bool) -> bytes:
    message = dns.Message(
        query.id,
        answer=1,
        opCode=query.opCode,
        recDes=query.recDes,
        auth=reply.code in (dns.OK, dns.ENAME),
        rCode=reply.code & 0xF,
        trunc=int(reply.truncated),
        maxSize=0,  # Twisted would cut a record in the middle
    )
    message.queries = query.queries if len(query.queries) == 1 else []
    message.answers = list(reply.answers)
    message.authority = list(reply.authority)
    message.additional = list(reply.additional)
    if edns:
        code = reply.code >> 4 << 24
        message.additional.append(dns.RRHeader(b"", dns.OPT, cls=MAX_UDP_BYTES, ttl=code))
    return message.toStr()
