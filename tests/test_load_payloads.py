"""What the requests carry: scripts/load/payloads.py."""

import io
from pathlib import Path

import multipart
import pytest
from PIL import Image

from scripts.load.payloads import GENERATED_IMAGES, Payload, generate_images, images_at


@pytest.mark.parametrize("size", [(50, 30), (1, 1), (1, 700), (300, 2)])
def test_made_images_are_jpeg_files_of_the_size_asked_for(size: tuple[int, int]) -> None:
    """They decode, and no two are equal: a server with a cache must not look fast."""
    images = generate_images(*size, seed=1)
    assert len(images) == GENERATED_IMAGES
    assert len({image.body for image in images}) == GENERATED_IMAGES or min(size) < 3
    for image in images[: GENERATED_IMAGES if size == (50, 30) else 1]:
        assert image.content_type == "image/jpeg"
        with Image.open(io.BytesIO(image.body)) as opened:
            opened.load()
            assert (opened.format, opened.size) == ("JPEG", size)


def test_equal_seeds_make_equal_images() -> None:
    """And others make others."""
    first, again, other = (generate_images(20, 20, seed) for seed in (1, 1, 2))
    assert first == again
    assert not {image.body for image in first} & {image.body for image in other}


@pytest.mark.parametrize(
    ("kind", "filename"),
    [
        ("image/jpeg", "image.jpg"),
        ("image/png", "image.png"),
        ("application/octet-stream", "image"),
    ],
)
@pytest.mark.parametrize("body", [b"", b"\r\n--x\r\n", bytes(range(256))])
def test_a_form_has_the_file_as_its_only_part(kind: str, filename: str, body: bytes) -> None:
    """As a parser of forms reads it, under its field, byte for byte."""
    form = Payload(body, kind).as_form("b\u00fcld")
    name, options = multipart.parse_options_header(form.content_type)
    assert name == "multipart/form-data"
    parser = multipart.MultipartParser(
        io.BytesIO(form.body), options["boundary"], content_length=len(form.body), strict=True
    )
    (part,) = parser.parts()
    assert (part.name, part.filename, part.content_type) == ("b\u00fcld", filename, kind)
    assert part.raw == body


def test_the_images_of_a_folder_are_sorted_by_name(tmp_path: Path) -> None:
    """Other files are ignored."""
    for name in ("b.PNG", "a.jpeg", "c.txt", "d"):
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "e.jpg").mkdir()
    assert images_at(tmp_path) == [
        Payload(b"a.jpeg", "image/jpeg"),
        Payload(b"b.PNG", "image/png"),
    ]


def test_a_file_that_is_named_is_sent_whatever_it_is_called(tmp_path: Path) -> None:
    """It was asked for."""
    path = tmp_path / "photo"
    path.write_bytes(b"any")
    assert images_at(path) == [Payload(b"any", "application/octet-stream")]


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    """The message lists the suffixes."""
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ValueError, match=r"there is no image in .*: \.jpg, \.jpeg, \.png"):
        images_at(tmp_path)


def test_an_empty_image_is_refused(tmp_path: Path) -> None:
    """Alone, and among others, by its name."""
    (tmp_path / "a.jpg").write_bytes(b"a")
    (tmp_path / "b.jpg").write_bytes(b"")
    for path in (tmp_path, tmp_path / "b.jpg"):
        with pytest.raises(ValueError, match=r"^b\.jpg is empty$"):
            images_at(path)
