"""Where the images are in a request: server/api/native.py, server/api/forms.py."""

import re
from base64 import b64encode

import pytest

from server.api import native
from server.api.forms import MAX_PARTS
from server.api.native import check_body, content_type_of
from server.http.error_statuses import HTTPError
from tests.fakes.http import http_request

IMAGE = b"\x89PNG\r\n\x1a\n--not a boundary\r\n\0\xff"
LONG = bytes(range(256)) * 1024 + b"\r\n--edg\r\n--" * 1000

FORM = "multipart/form-data; boundary=edge"
URLENCODED = "application/x-www-form-urlencoded"  # what curl --data-binary sends


def images_of(body: bytes, kind: str | None) -> list[bytes]:
    """Return the images in a request with this Content-Type."""
    headers = {} if kind is None else {"content-type": kind}
    request = http_request(body, headers=headers)
    check_body(request)
    return native.images_of(request.body, content_type_of(request))


def form(*parts: tuple[str, bytes], boundary: str = "edge") -> bytes:
    """Return a form; each part is its Content-Disposition and its content."""
    edge = b"--" + boundary.encode()
    blocks = [
        edge + b"\r\nContent-Disposition: " + disposition.encode() + b"\r\n\r\n" + content
        for disposition, content in parts
    ]
    return b"\r\n".join([*blocks, edge + b"--\r\n"])


def text(name: str, content: bytes) -> tuple[str, bytes]:
    """Return a text field *name*."""
    return f'form-data; name="{name}"', content


def file(name: str, filename: str, content: bytes, *headers: str) -> tuple[str, bytes]:
    """Return a file in the field *name*, with more *headers*."""
    return "\r\n".join([f'form-data; name="{name}"; filename="{filename}"', *headers]), content


def named(name: str, content: bytes = IMAGE) -> tuple[str, bytes]:
    """Return an image file in the field *name*."""
    return file(name, "x.png", content)


def encoded(encoding: str, content: bytes = IMAGE) -> tuple[str, bytes]:
    """Return an image file with a Content-Transfer-Encoding."""
    return file("data", "x.png", content, f"Content-Transfer-Encoding: {encoding}")


IN_BASE64 = b64encode(IMAGE)
IN_URL = b"data:image/png;base64," + IN_BASE64
B64_OBJECT = b'{"b64": "' + IN_BASE64 + b'"}'
META = b'{"id": 7}'
OTHER_NAME = ("form-data; name=\"upload\"; filename*=UTF-8''%C3%A9.png", IMAGE)
DISPOSITIONS = [
    'form-data; name="{}"', 'form-data; name="{}"; filename="a.png"\r\nContent-Type: image/png',
    'form-data; filename="data"; name="{}"', "form-data; name={}", 'Form-Data; NAME="{}"',
]  # fmt: skip

#: A form, and its image: found by its content, or else by its file name; text is metadata.
FORMS: dict[str, tuple[list[tuple[str, bytes]], bytes]] = {
    **{
        disposition.format(name): ([(disposition.format(name), IMAGE)], IMAGE)
        for name in ("data", "image", "file")
        for disposition in DISPOSITIONS
    },
    "others before": ([named("other", b"no image"), named("Data", b"no"), named("image")], IMAGE),
    "others behind": ([named("image"), named("datas", b"no image"), named("", b"no")], IMAGE),
    "a long image": ([named("data", LONG)], LONG),
    "a file of any name": ([named("photo")], IMAGE),
    "an image without a file name": ([text("it", IMAGE)], IMAGE),
    "an image without a name": ([("form-data", IMAGE)], IMAGE),
    "text called data": ([text("data", META), named("image")], IMAGE),
    "text called data, behind it": ([named("image"), text("data", META)], IMAGE),
    "text of every name": ([text("data", b"1"), text("file", b"1"), named("x")], IMAGE),
    "metadata with a file name": ([file("data", "meta.json", META), named("image")], IMAGE),
    "a file input left empty": ([file("data", "", b""), named("image")], IMAGE),
    "words that begin as a file does": ([text("x", b"GIF89a is a format"), named("i")], IMAGE),
    "b64 in a text field": ([text("meta", B64_OBJECT)], B64_OBJECT),
    "an empty text field": ([text("data", b""), named("image")], IMAGE),
    "as many parts as may be": ([text("x", b"1")] * (MAX_PARTS - 1) + [named("x")], IMAGE),
    "a name in another encoding": ([OTHER_NAME], IMAGE),
    "base64 in a text field": ([text("data", IN_BASE64)], IN_BASE64),
    "a data URL in a text field": ([text("photo", IN_URL)], IN_URL),
    "base64 as its encoding": ([encoded("BASE64", IN_BASE64)], IN_BASE64),
    "bare as its encoding": ([encoded("binary")], IMAGE),
    "no image, but a file": ([text("data", META), file("it", "a.pdf", b"%PDF-1")], b"%PDF-1"),
    "no image, but its field": ([text("other", META), text("file", b"hello")], b"hello"),
}


@pytest.mark.parametrize(("parts", "expected"), FORMS.values(), ids=FORMS.keys())
def test_the_image_of_a_form_is_found(parts: list[tuple[str, bytes]], expected: bytes) -> None:
    """Text around the form is ignored, and a file name may be in Latin-1, as some clients write."""
    body = form(*parts)
    for each in (body, b"preamble\r\n" + body + b"epilogue", body.replace(b"x.png", b"\xe9.png")):
        assert images_of(each, FORM) == [expected]


SECOND = IMAGE + b"2"
FILES = [named("data"), named("data", SECOND)]

#: A form of several images in one field, and these: what is no image has its own error later.
SEVERAL: dict[str, tuple[list[tuple[str, bytes]], list[bytes]]] = {
    "two files": (FILES, [IMAGE, SECOND]),
    "the same one twice": ([named("data")] * 2, [IMAGE, IMAGE]),
    "a field of another name": ([named("photo"), named("photo", SECOND)], [IMAGE, SECOND]),
    "no name": ([("form-data", IMAGE), ("form-data", SECOND)], [IMAGE, SECOND]),
    "data[]": ([named("data[]"), named("data[]", SECOND)], [IMAGE, SECOND]),
    "numbered": ([named("data[0]"), named("data[1]", SECOND)], [IMAGE, SECOND]),
    "data and data[]": ([named("data"), named("data[]", SECOND)], [IMAGE, SECOND]),
    "a broken file first": ([named("data", b"broken"), *FILES], [b"broken", IMAGE, SECOND]),
    "a broken file last": ([named("data"), named("data", b"broken")], [IMAGE, b"broken"]),
    "an empty file between": ([FILES[0], named("data", b""), FILES[1]], [IMAGE, b"", SECOND]),
    "only broken files": ([named("data", b"a"), named("data", b"b")], [b"a", b"b"]),
    "a file input left empty": ([file("data", "", b""), *FILES], [IMAGE, SECOND]),
    "metadata in other fields": ([text("id", b"1"), *FILES, file("m", "m.json", META)],
        [IMAGE, SECOND]),
    "text of the same name": ([FILES[0], text("data", META), FILES[1]], [IMAGE, SECOND]),
    "a file and base64": ([named("data"), text("data", IN_BASE64)], [IMAGE, IN_BASE64]),
    "base64 in texts": ([text("data", IN_BASE64), text("data", IN_URL)], [IN_BASE64, IN_URL]),
    "broken base64 in texts": ([text("data", b"x"), text("data", IN_URL), text("data", b"")],
        [b"x", IN_URL, b""]),
    "as many as may be": ([named("data")] * MAX_PARTS, [IMAGE] * MAX_PARTS),
}  # fmt: skip


@pytest.mark.parametrize(("parts", "expected"), SEVERAL.values(), ids=SEVERAL.keys())
def test_the_images_of_one_field_are_found_in_their_order(
    parts: list[tuple[str, bytes]], expected: list[bytes]
) -> None:
    """Each file has its place in the answer, so that no bad file moves the others."""
    assert images_of(form(*parts), FORM) == expected


@pytest.mark.parametrize(
    ("kind", "boundary"),
    [
        *((kind, None) for kind in (None, "", "image/jpeg", "image/png", URLENCODED, "é")),
        *(
            (kind, None)
            for kind in ("application/octet-stream", "IMAGE/PNG; q=1", "no type at all")
        ),
        ("multipart/mixed; boundary=edge", None),
        ('multipart/form-data; boundary="edge"', "edge"),
        ("multipart/form-data; boundary=edge; charset=utf-8", "edge"),
        ("Multipart/Form-Data;Boundary=edge", "edge"),
        ("multipart/form-data ; boundary = edge", "edge"),
        ('multipart/form-data; boundary="a b:c/d?e=f"', "a b:c/d?e=f"),
        ("multipart/form-data; boundary=----WebKitFormBoundary7MA4", "----WebKitFormBoundary7MA4"),
        ("multipart/form-data; boundary=" + "x" * 70, "x" * 70),
    ],
)
def test_a_bare_body_is_an_image_and_a_boundary_may_be_written_in_several_ways(
    kind: str | None, boundary: str | None
) -> None:
    """A bare body may have any Content-Type; the decoder reads its first bytes."""
    body = IMAGE if boundary is None else form(named("data"), boundary=boundary)
    assert images_of(body, kind) == [IMAGE]


#: Forms of images in two fields: a client could take the answer to one for that to both.
TWO: dict[str, list[tuple[str, bytes]]] = {
    "two fields": [named("image"), named("data")],
    "other names": [named("front"), named("back")],
    "a file and base64": [named("image"), text("data", IN_BASE64)],
    "a file and b64": [named("image"), text("meta", B64_OBJECT)],
    "a file and a JSON string": [named("image"), text("meta", b'"' + IN_BASE64 + b'"')],
    "a file and a data URL": [text("thumbnail", IN_URL), named("image")],
    "a format that is not read": [named("image"), file("data", "x.heic", b"\0\0\0\x18ftypheic")],
    "an image by its type": [named("image"), file("b", "b", b"broken", "Content-Type: image/png")],
    "one that is broken": [named("image"), named("data", IMAGE[:12])],
}  # fmt: skip

WHOLE = form(named("data"))
LF = WHOLE.replace(b"\r\n", b"\n")
NESTED = form(file("data", "", b"--x", "Content-Type: multipart/mixed; boundary=x"), named("file"))
HEADERS_FIRST = form(("", b"")).replace(
    b"Content-Disposition: ", b"A: b\r\nContent-Disposition: form-data"
)
#: Every image format has zero bytes; a decoder might accept the rest.
WITHOUT_ZEROS = b"GIF89a" + bytes(range(1, 256))
BROKE = "the multipart form is broken"
EMPTY = "the image's field of the form is empty"
WRONG = "is a multipart form, but its Content-Type is "
ADVICE = "send Content-Type: multipart/form-data; boundary=edge"
NO_BODY = "the body is empty: post an image"

#: A body, its Content-Type, and a part of the error, which begins with the status unless it is 400.
REFUSED: dict[str, tuple[bytes, str | None, str]] = {
    **{
        f"two images: {name}": (
            form(*parts),
            FORM,
            "holds 2 images in several fields ("
            + ", ".join(repr(disposition.split('"')[1]) for disposition, _ in parts)
            + "); send one image, or all images in one field",
        )
        for name, parts in TWO.items()
    },
    "text": (b"hello", "text/plain", "415 text/plain is not supported"),
    "HTML": (b"hello", "text/html; charset=x", "415 text/html is not supported"),
    **{f"empty: {kind}": (b"", kind, NO_BODY) for kind in ("image/png", FORM, "text/json", "")},
    "no boundary": (WHOLE, "multipart/form-data", "its Content-Type names no boundary"),
    "empty boundary": (WHOLE, 'multipart/form-data; boundary=""', "its Content-Type names no"),
    "another boundary": (WHOLE, "multipart/form-data; boundary=other",
        f"{BROKE}: the boundary is 'other' in the Content-Type and 'edge' in the body"),
    "boundary beyond ASCII": (WHOLE, 'multipart/form-data; boundary="é"', BROKE),
    "cut in the image": (WHOLE[:90], FORM, BROKE),
    "cut in a header": (WHOLE[:30], FORM, BROKE),
    "cut at the end": (WHOLE[:-5], FORM, BROKE),
    "no form": (IMAGE, FORM, BROKE),
    "bare line ends": (LF, FORM, BROKE),
    "no name": (form(("form-data", b"1")), FORM, "its fields: ''"),
    "no disposition": (form(("", IMAGE)), FORM, BROKE),
    "too many parts": (form(*[named("x", b"y")] * (MAX_PARTS + 1), named("data")), FORM,
        f"{BROKE}: it has more than {MAX_PARTS} parts"),
    "too long a header": (form(named("x" * 10_000)), FORM, BROKE),
    "no fields": (b"--edge--\r\n", FORM, "no field named one of 'data', 'image', 'file'"),
    "text of other names": (form(text("Data", b"1"), text("it", b"")), FORM, "'Data', 'it'"),
    "an empty file of another name": (form(named("it", b"")), FORM, "its fields: 'it'"),
    "no semicolon": (WHOLE, "multipart/form-data boundary=edge",
        f"with no semicolon before its boundary; {ADVICE}"),
    "another type": (WHOLE, "image/jpeg", f"{WRONG}'image/jpeg'"),
    "another multipart type": (WHOLE, "multipart/mixed; boundary=edge", WRONG),
    "no type": (WHOLE, "",
        f"is a multipart form, but its Content-Type is missing; {ADVICE}"),
    "text as its type": (WHOLE, "text/plain", f"{WRONG}'text/plain'"),
    "another type, bare line ends": (LF, "application/octet-stream", WRONG),
    "other headers first": (HEADERS_FIRST, "", "is a multipart form, but"),
    "a form within the form": (NESTED, FORM, "field 'data' holds a form itself (multipart/mixed)"),
    "an encoding of mail": (form(encoded("quoted-printable")), FORM,
        "Content-Transfer-Encoding 'quoted-printable' is not supported"),
    "an empty image": (form(named("data", b"")), FORM, EMPTY),
    "an empty one first": (form(named("data", b""), named("image")), FORM, EMPTY),
    "zero bytes lost": (WITHOUT_ZEROS, URLENCODED, "--data-binary @photo.jpg"),
    "line ends lost": (WITHOUT_ZEROS.translate(None, b"\r\n"), URLENCODED,
        "--data-binary @photo.j"),
}  # fmt: skip


@pytest.mark.parametrize(("body", "kind", "error"), REFUSED.values(), ids=REFUSED.keys())
def test_a_body_without_images_of_one_field_is_refused_with_the_reason(
    body: bytes, kind: str | None, error: str
) -> None:
    """In one line that names what was found."""
    status, message = (415, error[4:]) if error.startswith("415 ") else (400, error)
    with pytest.raises(HTTPError, match=re.escape(message)) as caught:
        images_of(body, kind)
    assert caught.value.status == status
    assert "\n" not in str(caught.value)
