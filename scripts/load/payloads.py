"""
Build the bodies of the requests: image files, any file, or generated images.

A body is sent as it is, or as a field of a form, as ``curl -F data=@photo.jpg`` does.
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

#: The content types of image files, by the suffix of the file name.
IMAGE_TYPES = {
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".gif": "image/gif",
    ".bmp": "image/bmp",
    ".webp": "image/webp",
}

#: How many different images are generated; they are sent in turn.
GENERATED_IMAGES = 16

_BOUNDARY = "tensorferry-loadtest-5f0c1e9b7a3d"


@dataclass(frozen=True, slots=True)
class Payload:
    """One body and its content type."""

    body: bytes
    content_type: str

    def as_form(self, field: str) -> "Payload":
        """Return a multipart form with this body as the file *field*."""
        extension = next(
            (end for end, kind in IMAGE_TYPES.items() if kind == self.content_type), ""
        )
        head = (
            f"--{_BOUNDARY}\r\n"
            f'Content-Disposition: form-data; name="{field}"; filename="image{extension}"\r\n'
            f"Content-Type: {self.content_type}\r\n\r\n"
        )
        body = head.encode() + self.body + f"\r\n--{_BOUNDARY}--\r\n".encode()
        return Payload(body, f"multipart/form-data; boundary={_BOUNDARY}")


def images_at(path: Path) -> list[Payload]:
    """
    Return the image file at *path* or, if *path* is a folder, its images, sorted by name.

    Raises OSError if a file cannot be read, and ValueError if there is no image or an image is
    empty.
    """
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    images = [file for file in files if file.suffix.lower() in IMAGE_TYPES and file.is_file()]
    if not images and not path.is_dir():
        images = files  # a file that is named is sent, whatever its suffix
    if not images:
        raise ValueError(f"there is no image in {path}: {', '.join(IMAGE_TYPES)}")
    empty = [file.name for file in images if not file.stat().st_size]
    if empty:
        raise ValueError(f"{empty[0]} is empty")
    return [
        Payload(file.read_bytes(), IMAGE_TYPES.get(file.suffix.lower(), "application/octet-stream"))
        for file in images
    ]


def generate_images(width: int, height: int, seed: int) -> Sequence[Payload]:
    """
    Return `GENERATED_IMAGES` JPEG files of *width* x *height* pixels.

    They compress about as well as photos; *seed* determines their content.
    """
    return [Payload(file, "image/jpeg") for file in _jpegs(width, height, seed)]


def _jpegs(width: int, height: int, seed: int) -> Iterator[bytes]:
    chance = np.random.default_rng(seed)
    for _ in range(GENERATED_IMAGES):
        image = np.zeros((height, width, 3))
        # As in photos, the amplitude is inversely proportional to the frequency.
        for cells, strength in ((4, 64.0), (16, 32.0), (64, 16.0), (256, 8.0)):
            noise = chance.normal(128, strength, (cells, cells, 3)).clip(0, 255).astype(np.uint8)
            layer = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
            image += np.asarray(layer, np.float64) - 128
        file = io.BytesIO()
        pixels = (image + 128).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(file, "JPEG", quality=90)
        yield file.getvalue()
