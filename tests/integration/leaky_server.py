"""`tensorferry` with a leak: it keeps a copy of every image, to test that the soak detects it."""

from scripts.cli import main
from server.api import native

kept: list[bytes] = []
_image_of = native.image_of


def _keep_image_of(body: bytes, content_type: native.ContentType) -> bytes:
    image = _image_of(body, content_type)
    kept.append(bytes(bytearray(image)))
    return image


if __name__ == "__main__":
    native.image_of = _keep_image_of
    main()
