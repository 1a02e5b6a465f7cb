"""
An independent judge of what crosses the wire: h11, a strict reader of HTTP/1.1.

It reads the answers of this server as a client, and requests as a server.
"""

from collections.abc import Sequence

import h11

from server.http.channel import CONTINUE
from tests.fakes.http import Answer


def judged(received: bytes, methods: Sequence[str], *, closed: bool) -> list[Answer]:
    """
    Return the answers in *received*, as a client reads those to *methods*.

    With *closed* the server has closed its end behind them.  Raises `h11.RemoteProtocolError` if
    they are no answers; nothing but a 100 may follow the last one.
    """
    client = h11.Connection(h11.CLIENT)
    client.receive_data(received)
    if closed:
        client.receive_data(b"")
    answers: list[Answer] = []
    for method in methods:
        if client.our_state is h11.DONE:
            client.start_next_cycle()
        client.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
        client.send(h11.EndOfMessage())
        answers += _next_answers(client)
    if client.our_state is h11.DONE is client.their_state:
        client.start_next_cycle()
    assert client.trailing_data[0] in (b"", CONTINUE)
    return answers


def _next_answers(client: h11.Connection) -> list[Answer]:
    """Return the next final answer, behind those of a status 1xx."""
    answers: list[Answer] = []
    status, headers, body = 0, {}, b""
    while True:
        event = client.next_event()
        if isinstance(event, h11.InformationalResponse):
            answers.append(Answer(event.status_code, _fields(event), b""))
        elif isinstance(event, h11.Response):
            status, headers = event.status_code, _fields(event)
        elif isinstance(event, h11.Data):
            body += event.data
        else:
            assert isinstance(event, h11.EndOfMessage), event
            return [*answers, Answer(status, headers, body)]


def _fields(event: h11.Response | h11.InformationalResponse) -> dict[str, str]:
    return {name.decode(): value.decode("latin-1") for name, value in event.headers}


def refused(sent: bytes) -> str:
    """Return why h11 as a server refuses a request in *sent*; empty if it refuses none."""
    server = h11.Connection(h11.SERVER)
    try:
        server.receive_data(sent)
        while server.their_state is not h11.DONE or _answer(server):
            event = server.next_event()
            if not isinstance(event, h11.Request | h11.Data | h11.EndOfMessage):
                return ""  # it waits for more, or switches to another protocol
    except h11.RemoteProtocolError as error:
        return str(error)
    return ""


def _answer(server: h11.Connection) -> bool:
    """Answer the request that is read; return whether another one may follow."""
    server.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
    server.send(h11.EndOfMessage())
    if server.our_state is not h11.DONE:
        return False
    server.start_next_cycle()
    return True
