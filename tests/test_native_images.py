"""Where the image is in a request: server/api/native.py."""

from base64 import b64encode

import pytest

from server.api import native
from server.api.forms import MAX_PARTS
from server.api.native import check_body, content_type_of
from server.http.error_statuses import HTTPError
from server.http.messages import HTTPRequest
from tests.fakes.http import http_request

IMAGE = b"\x89PNG\r\n\x1a\n--not a boundary\r\n\0\xff"


def image_of(request: HTTPRequest) -> bytes:
    """Return the image in *request*."""
    return native.image_of(request.body, content_type_of(request))


def form(*parts: tuple[str, bytes], boundary: str = "edge") -> bytes:
    """Return a form; each part is its Content-Disposition and its content."""
    edge = b"--" + boundary.encode()
    blocks = [
        edge + b"\r\nContent-Disposition: " + disposition.encode() + b"\r\n\r\n" + content
        for disposition, content in parts
    ]
    return b"\r\n".join([*blocks, edge + b"--\r\n"])


def named(name: str, content: bytes = IMAGE) -> tuple[str, bytes]:
    """Return an image file in the field *name*."""
    return f'form-data; name="{name}"; filename="x.png"', content


FORM = "multipart/form-data; boundary=edge"


@pytest.mark.parametrize(
    "kind",
    [
        None,
        "",
        "image/jpeg",
        "image/png",
        "application/octet-stream",
        "application/x-www-form-urlencoded",  # what curl --data-binary sends
        "IMAGE/PNG; q=1",
        "multipart/mixed; boundary=edge",
        "no type at all",
        "é",
    ],
)
@pytest.mark.parametrize("encoding", [None, "", "identity", " Identity "])
def test_a_bare_body_is_an_image(kind: str | None, encoding: str | None) -> None:
    """Whatever its Content-Type; the decoder reads its first bytes."""
    headers = {"content-type": kind, "content-encoding": encoding}
    given = {name: value for name, value in headers.items() if value is not None}
    assert image_of(http_request(IMAGE, headers=given)) == IMAGE


@pytest.mark.parametrize(
    ("headers", "named_as"),
    [
        ({"content-type": "text/plain"}, "text/plain"),
        ({"content-type": "text/html; charset=x"}, "text/html"),
    ],
)
def test_text_is_no_image(headers: dict[str, str], named_as: str) -> None:
    """The error names its type."""
    with pytest.raises(HTTPError, match=named_as) as caught:
        image_of(http_request(b"hello", headers=headers))
    assert caught.value.status == 415


@pytest.mark.parametrize(
    ("headers", "named_as"),
    [
        ({"content-encoding": "gzip"}, "gzip"),
        ({"content-encoding": "GZIP", "content-type": FORM}, "gzip"),
        ({"content-encoding": "identity, br", "content-type": "application/json"}, "br"),
    ],
)
def test_an_encoded_body_is_refused(headers: dict[str, str], named_as: str) -> None:
    """The error names the encoding."""
    with pytest.raises(HTTPError, match=named_as) as caught:
        check_body(http_request(b"hello", headers=headers))
    assert caught.value.status == 415


@pytest.mark.parametrize("kind", ["image/png", FORM, "application/json", ""])
def test_the_error_for_an_empty_body_says_what_to_send(kind: str) -> None:
    """It is the first thing that users try."""
    with pytest.raises(HTTPError, match="the body is empty: post an image") as caught:
        check_body(http_request(b"", headers={"content-type": kind}))
    assert caught.value.status == 400


@pytest.mark.parametrize("name", ["data", "image", "file"])
@pytest.mark.parametrize(
    "disposition",
    [
        'form-data; name="{}"',
        'form-data; name="{}"; filename="a.png"\r\nContent-Type: image/png',
        'form-data; filename="data"; name="{}"',
        "form-data; name={}",
        'Form-Data; NAME="{}"',
    ],
)
def test_the_field_of_the_image_may_have_three_names(name: str, disposition: str) -> None:
    """As a file or as a plain field."""
    body = form((disposition.format(name), IMAGE))
    assert image_of(http_request(body, headers={"content-type": FORM})) == IMAGE


@pytest.mark.parametrize("others", [["other"], ["Data", "datas"], ["filename", ""]])
def test_other_fields_of_a_form_are_ignored(others: list[str]) -> None:
    """Before or after the image, full or empty."""
    parts = [named(name, b"no image") for name in others]
    for body in (form(*parts, named("image")), form(named("image"), *parts)):
        assert image_of(http_request(body, headers={"content-type": FORM})) == IMAGE


def text(name: str, content: bytes) -> tuple[str, bytes]:
    """Return a text field *name*."""
    return f'form-data; name="{name}"', content


def file(name: str, filename: str, content: bytes, *headers: str) -> tuple[str, bytes]:
    """Return a file in the field *name*, with more *headers*."""
    return "\r\n".join([f'form-data; name="{name}"; filename="{filename}"', *headers]), content


IN_BASE64 = b64encode(IMAGE)
IN_URL = b"data:image/png;base64," + IN_BASE64
B64_OBJECT = b'{"b64": "' + IN_BASE64 + b'"}'
META = b'{"id": 7}'

FORMS: dict[str, tuple[list[tuple[str, bytes]], bytes]] = {
    "a file of any name": ([named("photo")], IMAGE),
    "an image without a file name": ([text("it", IMAGE)], IMAGE),
    "an image without a name": ([("form-data", IMAGE)], IMAGE),
    "text called data": ([text("data", META), named("image")], IMAGE),
    "text called data, behind it": ([named("image"), text("data", META)], IMAGE),
    "text of every name": ([text(name, b"1") for name in ("data", "file")] + [named("x")], IMAGE),
    "metadata with a file name": ([file("data", "meta.json", META), named("image")], IMAGE),
    "a file input left empty": ([file("data", "", b""), named("image")], IMAGE),
    "words that begin as a file does": ([text("x", b"GIF89a is a format"), named("i")], IMAGE),
    "b64 in a text field": ([text("meta", B64_OBJECT)], B64_OBJECT),
    "an empty text field": ([text("data", b""), named("image")], IMAGE),
    "as many parts as may be": ([text("x", b"1")] * (MAX_PARTS - 1) + [named("x")], IMAGE),
    "a name in another encoding": (
        [("form-data; name=\"upload\"; filename*=UTF-8''%C3%A9.png", IMAGE)],
        IMAGE,
    ),
    "base64 in a text field": ([text("data", IN_BASE64)], IN_BASE64),
    "a data URL in a text field": ([text("photo", IN_URL)], IN_URL),
    "base64 as its encoding": (
        [file("data", "x.png", IN_BASE64, "Content-Transfer-Encoding: BASE64")],
        IN_BASE64,
    ),
    "bare as its encoding": (
        [file("data", "x.png", IMAGE, "Content-Transfer-Encoding: binary")],
        IMAGE,
    ),
    "no image, but a file": ([text("data", META), file("it", "a.pdf", b"%PDF-1")], b"%PDF-1"),
    "no image, but its field": ([text("other", META), text("file", b"hello")], b"hello"),
}


@pytest.mark.parametrize(("parts", "expected"), FORMS.values(), ids=FORMS.keys())
def test_the_image_of_a_form_is_found(parts: list[tuple[str, bytes]], expected: bytes) -> None:
    """By its content, or else by its file name; text beside it is metadata."""
    assert image_of(http_request(form(*parts), headers={"content-type": FORM})) == expected


def test_a_file_name_may_be_in_another_encoding() -> None:
    """Some clients write Latin-1."""
    body = form(named("data")).replace(b"x.png", b"\xe9.png")
    assert image_of(http_request(body, headers={"content-type": FORM})) == IMAGE


TWO: dict[str, list[tuple[str, bytes]]] = {
    "one field": [named("data"), named("data", IMAGE + b"2")],
    "two fields": [named("image"), named("data")],
    "the same one twice": [named("data"), named("data")],
    "other names": [named("front"), named("back")],
    "a file and base64": [named("image"), text("data", IN_BASE64)],
    "a file and b64": [named("image"), text("meta", B64_OBJECT)],
    "a file and a JSON string": [named("image"), text("meta", b'"' + IN_BASE64 + b'"')],
    "a file and a data URL": [text("thumbnail", IN_URL), named("image")],
    "one of a format that is not read": [
        named("image"),
        file("data", "x.heic", b"\0\0\0\x18ftypheic"),
    ],
    "one that is an image by its Content-Type only": [
        named("image"),
        file("b", "b", b"broken", "Content-Type: image/png"),
    ],
    "one that is broken": [named("image"), named("data", IMAGE[:12])],
}


@pytest.mark.parametrize("parts", TWO.values(), ids=TWO.keys())
def test_a_form_with_two_images_is_refused(parts: list[tuple[str, bytes]]) -> None:
    """With their names: a client could take the answer to one for that to both."""
    with pytest.raises(
        HTTPError, match=r"holds 2 images \(.*\); send one image per request"
    ) as caught:
        image_of(http_request(form(*parts), headers={"content-type": FORM}))
    assert caught.value.status == 400
    for disposition, _ in parts:
        assert disposition.split('"')[1] in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "boundary"),
    [
        ('multipart/form-data; boundary="edge"', "edge"),
        ("multipart/form-data; boundary=edge; charset=utf-8", "edge"),
        ("Multipart/Form-Data;Boundary=edge", "edge"),
        ("multipart/form-data ; boundary = edge", "edge"),
        ('multipart/form-data; boundary="a b:c/d?e=f"', "a b:c/d?e=f"),
        ("multipart/form-data; boundary=----WebKitFormBoundary7MA4", "----WebKitFormBoundary7MA4"),
        ("multipart/form-data; boundary=" + "x" * 70, "x" * 70),
    ],
)
def test_the_boundary_may_be_written_in_several_ways(kind: str, boundary: str) -> None:
    """With quotes, other parameters and capitals."""
    body = form(named("data"), boundary=boundary)
    assert image_of(http_request(body, headers={"content-type": kind})) == IMAGE


def test_text_around_a_form_is_ignored() -> None:
    """Old mail programs write text there."""
    body = b"preamble\r\n" + form(named("data")) + b"epilogue"
    assert image_of(http_request(body, headers={"content-type": FORM})) == IMAGE


def test_an_image_is_found_in_a_large_form() -> None:
    """Every byte of it, line ends and dashes too."""
    image = bytes(range(256)) * 1024 + b"\r\n--edg\r\n--" * 1000
    assert (
        image_of(http_request(form(named("data", image)), headers={"content-type": FORM})) == image
    )


WHOLE = form(named("data"))
BROKE = "the multipart form is broken"
EMPTY = "the image's field of the form is empty"
BROKEN: dict[str, tuple[bytes, str, str]] = {
    "no boundary": (WHOLE, "multipart/form-data", "its Content-Type names no boundary"),
    "empty boundary": (WHOLE, 'multipart/form-data; boundary=""', "its Content-Type names no"),
    "another boundary": (
        WHOLE,
        "multipart/form-data; boundary=other",
        f"{BROKE}: the boundary is 'other' in the Content-Type and 'edge' in the body",
    ),
    "boundary beyond ASCII": (WHOLE, 'multipart/form-data; boundary="é"', BROKE),
    "cut in the image": (WHOLE[:90], FORM, BROKE),
    "cut in a header": (WHOLE[:30], FORM, BROKE),
    "cut at the end": (WHOLE[:-5], FORM, BROKE),
    "no form": (IMAGE, FORM, BROKE),
    "bare line ends": (WHOLE.replace(b"\r\n", b"\n"), FORM, BROKE),
    "no name": (form(("form-data", b"1")), FORM, "its fields: ''"),
    "no disposition": (form(("", IMAGE)), FORM, BROKE),
    "too many parts": (
        form(*[named("x", b"y")] * (MAX_PARTS + 1), named("data")),
        FORM,
        f"{BROKE}: it has more than {MAX_PARTS} parts",
    ),
    "too long a header": (form(named("x" * 10_000)), FORM, BROKE),
    "no fields": (b"--edge--\r\n", FORM, "no field named one of 'data', 'image', 'file'"),
    "text of other names": (form(text("Data", b"1"), text("it", b"")), FORM, "'Data', 'it'"),
    "an empty file of another name": (form(named("it", b"")), FORM, "its fields: 'it'"),
    "no semicolon": (
        WHOLE,
        "multipart/form-data boundary=edge",
        "with no semicolon before its boundary; send Content-Type: multipart/form-data; boundary=e",
    ),
    "another type": (WHOLE, "image/jpeg", "is a multipart form, but its Content-Type is 'image/j"),
    "another multipart type": (WHOLE, "multipart/mixed; boundary=edge", "is a multipart form, but"),
    "no type": (WHOLE, "", "multipart form, but its Content-Type is missing; send .*boundary=edge"),
    "text as its type": (WHOLE, "text/plain", "is a multipart form, but its Content-Type is 'tex"),
    "another type, bare line ends": (
        WHOLE.replace(b"\r\n", b"\n"),
        "application/octet-stream",
        "is a multipart form, but",
    ),
    "other headers first": (
        form(("", b"")).replace(
            b"Content-Disposition: ", b"A: b\r\nContent-Disposition: form-data"
        ),
        "",
        "is a multipart form, but",
    ),
    "a form within the form": (
        form(file("data", "", b"--x", "Content-Type: multipart/mixed; boundary=x"), named("file")),
        FORM,
        r"field 'data' holds a form itself \(multipart/mixed\)",
    ),
    "an encoding of mail": (
        form(file("data", "x.png", IMAGE, "Content-Transfer-Encoding: quoted-printable")),
        FORM,
        "Content-Transfer-Encoding 'quoted-printable' is not supported",
    ),
    "an empty image": (
        form(named("data", b"")),
        FORM,
        EMPTY,
    ),
    "an empty one first": (
        form(named("data", b""), named("image")),
        FORM,
        EMPTY,
    ),
}


@pytest.mark.parametrize(("body", "kind", "error"), BROKEN.values(), ids=BROKEN.keys())
def test_a_form_without_an_image_is_refused_with_the_reason(
    body: bytes, kind: str, error: str
) -> None:
    """In one line that names what was found."""
    with pytest.raises(HTTPError, match=error) as caught:
        image_of(http_request(body, headers={"content-type": kind}))
    assert caught.value.status == 400
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("lost", [b"\0", b"\0\r\n"])
def test_an_image_without_zero_bytes_is_refused_with_advice_on_curl(lost: bytes) -> None:
    """Every image format has zero bytes; a decoder might accept the rest."""
    body = b"GIF89a" + bytes(range(256)).translate(None, lost)
    headers = {"content-type": "application/x-www-form-urlencoded"}
    with pytest.raises(HTTPError, match=r"--data-binary @photo\.jpg") as caught:
        image_of(http_request(body, headers=headers))
    assert caught.value.status == 400
