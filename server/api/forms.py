"""
Find the images among the parts of a multipart form.

A part is an image if its content begins as an image file or as base64 of one, or if its
Content-Type is an image type.  The field of the images is selected whatever its name: all its files
and images are selected, those that cannot be decoded too; if it has no file, all its texts.  All
other parts are metadata: text fields, and files of another kind, such as JSON with a file name.
Images in several fields are refused: a client could mistake the answer to one for the answer to
all.  If no part is an image, the field of the first file is selected, or without a file the first
field with one of `IMAGE_FIELD_NAMES`; the decoder reports what it is.
"""

import re
from dataclasses import dataclass

from multipart import MultipartError, MultipartSegment, ParserLimitReached, PushMultipartParser

from model.images.first_bytes import image_format, is_unread_image
from server.api.image_body import begins_image
from server.http.error_statuses import HTTPError

#: Names of the field that is selected if no part is an image or a file.
IMAGE_FIELD_NAMES = ("data", "image", "file")

MAX_PARTS = 256  #: parts of a form; each image needs one
MAX_PART_HEADERS = 16  #: headers of a part
MAX_PART_HEADER_BYTES = 4224  #: bytes of one header of a part

#: Characters of a client's value that an error message repeats.
_MAX_QUOTED_CHARS = 100

#: The end of a name such as ``data[]`` or ``data[0]``, as some clients write repeated fields.
_INDEX = re.compile(r"\[[0-9]*\]$")

_EMPTY = "the image's field of the form is empty"
_BROKEN_FORM = "the multipart form is broken"
_FORM_BODY = re.compile(
    rb"\s*--([^\r\n]{1,200})\r?\n(?:[^\r\n]{0,500}\r?\n){0,8}?Content-Disposition:\s*form-data",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class _Part:
    name: str
    filename: str | None  #: None for a field without one
    kind: str  #: its Content-Type, in lower case
    encoding: str  #: its Content-Transfer-Encoding, in lower case
    content: bytes

    @property
    def field(self) -> str:
        """The name without an index: that of ``data``, ``data[]`` and ``data[0]`` is ``data``."""
        return _INDEX.sub("", self.name)

    @property
    def is_image(self) -> bool:
        """
        Whether the content begins as an image does, or the Content-Type is an image type.

        True also for an image in a format that the server does not read; False for an empty part.
        """
        if not self.content:
            return False
        return (
            self.kind.startswith("image/")
            or (begins_image(self.content) and not _is_printable_text(self.content))
            or is_unread_image(self.content)
        )


def _is_printable_text(content: bytes) -> bool:
    """
    Whether *content* is only text, but begins as an image file does.

    For example, "GIF89a is a format".
    """
    head = content[:64]
    return image_format(content) is not None and head.isascii() and head.decode().isprintable()


def boundary_in(body: bytes) -> str | None:
    """Return the boundary in the first line of *body*; None if *body* is not a multipart form."""
    found = _FORM_BODY.match(body[:4096])
    return found and found[1].decode("latin-1")


def check_is_no_form(body: bytes, content_type: str) -> None:
    """
    Raise a 400 if *body* is a multipart form.

    *content_type* is the Content-Type of the request.  Call this function only if that is not the
    Content-Type of a form.
    """
    boundary = boundary_in(body)
    if boundary is None:
        return
    problem = f"is {content_type[:_MAX_QUOTED_CHARS]!r}" if content_type else "is missing"
    if content_type.lower().startswith("multipart/form-data"):
        problem += ", with no semicolon before its boundary"
    raise HTTPError(
        400,
        f"the body is a multipart form, but its Content-Type {problem}; "
        f"{_content_type_advice(boundary)}",
    )


def images_in(body: bytes, boundary: str) -> list[bytes]:
    """
    Return the images in *body*, a multipart form with this *boundary*, in their order.

    If the client sent an image as base64, that text is returned, not decoded.  If no part is an
    image, the part most likely meant as one is returned.  Raises a 400 with the reason if no part
    is likely, for images in several fields, if the only image is empty, for a form as a field, for
    an unsupported Content-Transfer-Encoding, and for a broken form or one without a boundary.
    """
    if not boundary:
        raise HTTPError(
            400,
            f"{_BROKEN_FORM}: its Content-Type names no boundary; "
            f"{_content_type_advice(boundary_in(body))}",
        )
    selected = _select_parts(_parts(body, boundary))
    for part in selected:
        if part.encoding not in {"", "binary", "8bit", "7bit", "base64"}:
            raise HTTPError(
                400,
                f"Content-Transfer-Encoding {part.encoding[:_MAX_QUOTED_CHARS]!r} is not "
                "supported; send the unencoded bytes of the image",
            )
    return [part.content for part in selected]


def _content_type_advice(boundary: str | None) -> str:
    """
    Return the advice that ends the error for a form with a wrong Content-Type.

    *boundary* is the boundary that the advice names, or None if the boundary is unknown.
    """
    known = boundary if boundary is not None and boundary.isprintable() else "..."
    return (
        f"send Content-Type: multipart/form-data; boundary={known}, "
        "or leave it to the HTTP client, which knows the boundary"
    )


def _select_parts(parts: list[_Part]) -> list[_Part]:
    """
    Return those of *parts* that are images, else those that are most likely meant as images.

    Raises a 400 if no part is likely, for images in several fields, if the only image is empty, and
    for a form as a field.
    """
    for part in parts:
        if part.kind.startswith("multipart/"):
            raise HTTPError(
                400,
                f"the form's field {_quoted_name(part)} holds a form itself "
                f"({part.kind[:_MAX_QUOTED_CHARS]}); send the image as a field of the form",
            )
    images = [part for part in parts if part.is_image]
    if len({part.field for part in images}) > 1:
        names = ", ".join(map(_quoted_name, images))
        raise HTTPError(
            400,
            f"the form holds {len(images)} images in several fields ({names}); "
            "send one image, or all images in one field",
        )
    named = [part for part in parts if part.field in IMAGE_FIELD_NAMES]
    files = [part for part in parts if part.filename and part.content]
    likely = images or files or [part for part in named if part.content] or named
    if not likely:
        wanted = ", ".join(repr(name) for name in IMAGE_FIELD_NAMES)
        names = ", ".join(map(_quoted_name, parts)) or "none"
        raise HTTPError(
            400, f"the form has no file, and no field named one of {wanted}; its fields: {names}"
        )
    selected = _images_of_field([part for part in parts if part.field == likely[0].field])
    if len(selected) > 1:
        return selected
    if not likely[0].content or any(part.filename and not part.content for part in named):
        raise HTTPError(400, _EMPTY)
    return likely[:1]


def _images_of_field(parts: list[_Part]) -> list[_Part]:
    """
    Return those of *parts*, which are all of one field, that are meant as images.

    These are its files, empty ones too, and its texts that are images; without a file, all its
    texts.  A file input that was left empty, whose file has an empty name, is none.
    """
    if any(part.filename for part in parts):
        return [part for part in parts if part.filename or part.is_image]
    return [part for part in parts if part.filename is None or part.content]


def _quoted_name(part: _Part) -> str:
    return repr(part.name[:_MAX_QUOTED_CHARS])


def _parts(body: bytes, boundary: str) -> list[_Part]:
    """Return the parts of *body*, a form with this *boundary*; raises a 400 if it is broken."""
    try:
        found = _segments(body, boundary, "utf-8")
    except MultipartError as error:
        try:  # some clients write file names in Latin-1, which decodes any bytes
            found = _segments(body, boundary, "latin-1")
        except MultipartError:
            raise HTTPError(400, f"{_BROKEN_FORM}: {_reason(error, body, boundary)}") from error
    return [_part_of(segment, b"".join(chunks)) for segment, chunks in found]


def _segments(
    body: bytes, boundary: str, charset: str
) -> list[tuple[MultipartSegment, list[bytes]]]:
    """
    Return each part of *body* as a pair: its headers, and the chunks of its content.

    The headers are decoded from *charset*.  Raises `MultipartError`.
    """
    found: list[tuple[MultipartSegment, list[bytes]]] = []
    with PushMultipartParser(
        boundary,
        content_length=len(body),
        max_segment_count=MAX_PARTS,
        max_header_count=MAX_PART_HEADERS,
        max_header_size=MAX_PART_HEADER_BYTES,
        header_charset=charset,
    ) as parser:
        for event in parser.parse(body):
            if isinstance(event, MultipartSegment):
                found.append((event, []))
            elif event is not None:
                found[-1][1].append(bytes(event))
    return found


def _reason(error: MultipartError, body: bytes, boundary: str) -> str:
    if isinstance(error, ParserLimitReached):
        return (
            f"it has more than {MAX_PARTS} parts, "
            f"or one of them more than {MAX_PART_HEADERS} headers "
            f"or {MAX_PART_HEADER_BYTES} bytes of a header"
        )
    actual = boundary_in(body)
    if actual not in {None, boundary}:
        return (
            f"the boundary is {boundary[:_MAX_QUOTED_CHARS]!r} in the Content-Type "
            f"and {actual!r} in the body"
        )
    return next((arg for arg in error.args if isinstance(arg, str)), "unreadable")


def _part_of(segment: MultipartSegment, content: bytes) -> _Part:
    filename = segment.filename
    disposition = segment.header("Content-Disposition", "")
    if filename is None and "filename*" in disposition.lower():
        filename = "a name in another encoding"
    return _Part(
        name=segment.name or "",
        filename=filename,
        kind=(segment.content_type or "").lower(),
        encoding=segment.header("Content-Transfer-Encoding", "").strip().lower(),
        content=content,
    )
