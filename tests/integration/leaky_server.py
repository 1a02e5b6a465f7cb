"""`tensorferry` with a leak: it keeps a copy of every picture, to show that the soak would tell."""

from scripts.cli import main
from server.api import native
from server.http.messages import HTTPRequest

kept: list[bytes] = []
_picture_of = native.picture_of


def _keep_picture_of(request: HTTPRequest) -> bytes:
    picture = _picture_of(request)
    kept.append(bytes(bytearray(picture)))
    return picture


if __name__ == "__main__":
    native.picture_of = _keep_picture_of
    main()
