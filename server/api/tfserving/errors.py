"""
Write errors in the form of TensorFlow Serving: `{"error": "..."}`, indented by four spaces.

Pure.
"""

import json
from collections.abc import Mapping

from server.http.error_statuses import HTTPError, refusal_for
from server.http.messages import HTTPResponse
from server.settings.option import printable

#: The most characters of a message: the texts of a client, which it repeats, may be a whole body.
MAX_MESSAGE_CHARACTERS = 1024


def invalid(message: str) -> HTTPError:
    """
    Return the 400 with *message*, which may have several lines, unlike that of a `FeedError`.

    Characters beyond `MAX_MESSAGE_CHARACTERS` are left out.
    """
    return HTTPError(400, message[:MAX_MESSAGE_CHARACTERS])


def write_error(
    error: BaseException | None, _: str, headers: Mapping[str, str] | None = None
) -> HTTPResponse:
    """
    Return the answer for *error*, with *headers* added; the statuses are the native ones.

    The request id is a header alone.  Other control characters than line ends, which a client may
    have sent, are escaped.
    """
    refusal = refusal_for(error)
    message = "\n".join(printable(line) for line in refusal.message.split("\n"))
    text = json.dumps({"error": message}, indent=4, ensure_ascii=False)
    return HTTPResponse(
        refusal.status, text.encode(errors="replace"), {**refusal.headers, **(headers or {})}
    )
