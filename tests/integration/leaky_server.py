"""`tensorferry` with a leak: it keeps a copy of every image, to test that the soak detects it."""

from scripts.cli import main
from server.api import native
from server.http.messages import HTTPRequest

kept: list[bytes] = []
_image_of = native.image_of


def _keep_image_of(request: HTTPRequest) -> bytes:
    image = _image_of(request)
    kept.append(bytes(bytearray(image)))
    return image


if __name__ == "__main__":
    native.image_of = _keep_image_of
    main()
