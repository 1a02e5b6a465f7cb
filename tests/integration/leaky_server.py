"""`tensorferry` with a leak: it keeps copies of every picture, to show that the soak would tell."""

from scripts.cli import main
from server.api import native
from server.http.messages import HTTPRequest

#: So many that even a slow machine takes enough pictures in half a minute.
COPIES = 4

kept: list[bytes] = []
_picture_of = native.picture_of


def _keep_picture_of(request: HTTPRequest) -> bytes:
    picture = _picture_of(request)
    kept.extend(bytes(bytearray(picture)) for _ in range(COPIES))
    return picture


if __name__ == "__main__":
    native.picture_of = _keep_picture_of
    main()
