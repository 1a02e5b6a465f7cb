"""`tensorferry` with a leak: it keeps a copy of every image, to test that the soak detects it."""

from scripts.cli import main
from server.api import native

kept: list[bytes] = []
_images_of = native.images_of


def _keep_images_of(body: bytes, content_type: native.ContentType) -> list[bytes]:
    images = _images_of(body, content_type)
    kept.extend(bytes(bytearray(image)) for image in images)
    return images


if __name__ == "__main__":
    native.images_of = _keep_images_of
    main()
