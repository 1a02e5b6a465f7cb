"""
Answers to requests that have not been received completely: their bytes, and their log entries.

May import neither twisted.web nor Klein; runs on the reactor thread.
"""

from twisted.internet.interfaces import IAddress

from server.http.access import Access, client_name
from server.http.cors import Cors
from server.http.head import current_http_date, encode_head, header_fields
from server.http.messages import HTTPResponse
from server.http.receiver import Receiver


def encode_early(
    receiver: Receiver,
    answer: HTTPResponse,
    request_id: str,
    cors: Cors | None,
    *,
    closes: bool = False,
) -> bytes:
    """
    Return *answer* to the request that *receiver* receives; that to HEAD has no body.

    With *closes* it states that the connection closes.
    """
    fields = {"X-Request-Id": request_id, "Date": current_http_date()}
    if cors is not None:
        fields.update(cors.fields(receiver.origin()))
    if closes:
        fields["Connection"] = "close"
    head = encode_head(answer.status, header_fields(answer, fields))
    method, _ = receiver.request_line()
    return head if method == "HEAD" else head + answer.body


def early_access(
    receiver: Receiver, answer: HTTPResponse, request_id: str, peer: IAddress, now: float
) -> Access:
    """Return the entry for *answer* to the request that *receiver* receives, written at *now*."""
    method, uri = receiver.request_line()
    head, trace = receiver.head_facts()
    whole = None if head is None else now - head
    return Access(
        client=client_name(peer),
        method=method,
        uri=uri,
        status=answer.status,
        sent=len(answer.body),
        request_id=request_id,
        server_timing=answer.headers.get("Server-Timing", ""),
        model=answer.headers.get("X-Model-Version", ""),
        trace=trace,
        ready=whole,
        whole=whole,
    )
