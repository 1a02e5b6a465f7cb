"""
Say what the requests carry: image files, any file, or images made on the fly.

Images go as they are, or as the field of a form, as ``curl -F data=@photo.jpg`` sends them.
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

#: Image files by the end of their names, and how a request calls their content.
TYPES = {
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".gif": "image/gif",
    ".bmp": "image/bmp",
    ".webp": "image/webp",
}

#: How many different images are made, to be sent in turn.
MADE = 16

_BOUNDARY = "tensorferry-loadtest-5f0c1e9b7a3d"


@dataclass(frozen=True, slots=True)
class Payload:
    """One body and what it is."""

    body: bytes
    content_type: str

    def as_form(self, field: str) -> "Payload":
        """Return it as the file *field* of a multipart form."""
        extension = next((end for end, kind in TYPES.items() if kind == self.content_type), "")
        head = (
            f"--{_BOUNDARY}\r\n"
            f'Content-Disposition: form-data; name="{field}"; filename="image{extension}"\r\n'
            f"Content-Type: {self.content_type}\r\n\r\n"
        )
        body = head.encode() + self.body + f"\r\n--{_BOUNDARY}--\r\n".encode()
        return Payload(body, f"multipart/form-data; boundary={_BOUNDARY}")


def images_at(path: Path) -> list[Payload]:
    """
    Return the image file at *path*, or those in the folder there, by their names.

    Raises ValueError where there is none, and OSError.
    """
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    images = [file for file in files if file.suffix.lower() in TYPES and file.is_file()]
    if not images and not path.is_dir():
        images = files  # whatever it is called, it was asked for
    if not images:
        raise ValueError(f"there is no image in {path}: {', '.join(TYPES)}")
    empty = [file.name for file in images if not file.stat().st_size]
    if empty:
        raise ValueError(f"{empty[0]} is empty")
    return [
        Payload(file.read_bytes(), TYPES.get(file.suffix.lower(), "application/octet-stream"))
        for file in images
    ]


def made_images(width: int, height: int, seed: int) -> Sequence[Payload]:
    """Return `MADE` JPEG files, which compress about as well as photos do."""
    return [Payload(file, "image/jpeg") for file in _jpegs(width, height, seed)]


def _jpegs(width: int, height: int, seed: int) -> Iterator[bytes]:
    chance = np.random.default_rng(seed)
    for _ in range(MADE):
        image = np.zeros((height, width, 3))
        # As in photos, what is twice as fine is half as strong.
        for cells, strength in ((4, 64.0), (16, 32.0), (64, 16.0), (256, 8.0)):
            noise = chance.normal(128, strength, (cells, cells, 3)).clip(0, 255).astype(np.uint8)
            layer = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
            image += np.asarray(layer, np.float64) - 128
        file = io.BytesIO()
        pixels = (image + 128).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(file, "JPEG", quality=90)
        yield file.getvalue()
