"""
Find the one image among the parts of a multipart form.

A part is an image where its content begins as one, also in base64, or where its type says so.
Where there is one, it is the image, whatever it is called, and all other parts are metadata: text
fields, and files of another kind, such as JSON with a file name.  Several images are refused, since
the answer to one would be taken for the answer to all.  Where there is none, the file, or else the
field that is called as an image should be, is handed on for the decoder to say what it is.
"""

import re
from dataclasses import dataclass

from multipart import MultipartError, MultipartSegment, ParserLimitReached, PushMultipartParser

from model.images.first_bytes import image_format, is_unread_image
from server.api.image_body import begins_image
from server.http.errors import HTTPError

#: The names of the field that holds the image where it has no file name.
FIELDS = ("data", "image", "file")

MAX_PARTS = 64  #: parts of a form; an image needs one
MAX_HEADERS = 16  #: headers of a part
MAX_HEADER_BYTES = 4224  #: bytes of one of them

#: Characters of a client's value that an error repeats.
_MAX_SAID = 100

_BROKEN = "the multipart form is broken"
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
    def is_image(self) -> bool:
        """Whether it is one, or was meant as one; formats that are not read count as well."""
        if not self.content:
            return False
        return (
            self.kind.startswith("image/")
            or (begins_image(self.content) and not _is_words(self.content))
            or is_unread_image(self.content)
        )


def _is_words(content: bytes) -> bool:
    """Whether *content* is text that merely begins as an image file does: "GIF89a is a format"."""
    head = content[:64]
    return image_format(content) is not None and head.isascii() and head.decode().isprintable()


def boundary_in(body: bytes) -> str | None:
    """Return the boundary with which *body* begins as a form does; None where it does not."""
    found = _FORM_BODY.match(body[:4096])
    return found and found[1].decode("latin-1")


def check_is_no_form(body: bytes, content_type: str) -> None:
    """Raise a 400 where *body* is a form, which *content_type* does not say."""
    boundary = boundary_in(body)
    if boundary is None:
        return
    said = f"is {content_type[:_MAX_SAID]!r}" if content_type else "is missing"
    if content_type.lower().startswith("multipart/form-data"):
        said += ", with no semicolon before its boundary"
    raise HTTPError(
        400, f"the body is a multipart form, but its Content-Type {said}; {_to_send(boundary)}"
    )


def image_in(body: bytes, boundary: str) -> bytes:
    """Return the image in the form *body*, or base64 of it; raises a 400 with the reason."""
    if not boundary:
        raise HTTPError(
            400, f"{_BROKEN}: its Content-Type names no boundary; {_to_send(boundary_in(body))}"
        )
    part = _chosen(_parts(body, boundary))
    if part.encoding not in {"", "binary", "8bit", "7bit", "base64"}:
        raise HTTPError(
            400,
            f"Content-Transfer-Encoding {part.encoding[:_MAX_SAID]!r} is not read here; "
            "send the bare bytes of the image",
        )
    return part.content


def _to_send(boundary: str | None) -> str:
    """Return what to send instead, where the Content-Type of a form is wrong."""
    known = boundary if boundary is not None and boundary.isprintable() else "..."
    return (
        f"send Content-Type: multipart/form-data; boundary={known}, "
        "or leave it to the HTTP client, which knows the boundary"
    )


def _chosen(parts: list[_Part]) -> _Part:
    """Return the image among *parts*, or else what was most likely meant as one."""
    for part in parts:
        if part.kind.startswith("multipart/"):
            raise HTTPError(
                400,
                f"the form's field {_said(part)} holds a form itself ({part.kind[:_MAX_SAID]}); "
                "send the image as a field of the form",
            )
    images = [part for part in parts if part.is_image]
    if len(images) > 1:
        names = ", ".join(map(_said, images[:MAX_PARTS]))
        raise HTTPError(
            400, f"the form holds {len(images)} images ({names}); one is answered per request"
        )
    named = [part for part in parts if part.name in FIELDS]
    if any(part.filename and not part.content for part in named):
        raise HTTPError(400, "the image's field of the form is empty")
    if images:
        return images[0]
    files = [part for part in parts if part.filename and part.content]
    meant = files or [part for part in named if part.content] or named
    if meant:
        if not meant[0].content:
            raise HTTPError(400, "the image's field of the form is empty")
        return meant[0]
    wanted = ", ".join(repr(name) for name in FIELDS)
    names = ", ".join(map(_said, parts)) or "none"
    raise HTTPError(
        400, f"the form has no file, and no field named one of {wanted}; its fields: {names}"
    )


def _said(part: _Part) -> str:
    return repr(part.name[:_MAX_SAID])


def _parts(body: bytes, boundary: str) -> list[_Part]:
    """Return the parts of the form *body*; raises a 400 for a broken form."""
    try:
        found = _segments(body, boundary, "utf-8")
    except MultipartError as error:
        try:  # some clients write names of files in Latin-1, which any bytes are
            found = _segments(body, boundary, "latin-1")
        except MultipartError:
            raise HTTPError(400, f"{_BROKEN}: {_reason(error, body, boundary)}") from error
    return [_part_of(segment, b"".join(chunks)) for segment, chunks in found]


def _segments(
    body: bytes, boundary: str, charset: str
) -> list[tuple[MultipartSegment, list[bytes]]]:
    """Return the heads of the parts, in this *charset*, and their contents in pieces."""
    found: list[tuple[MultipartSegment, list[bytes]]] = []
    with PushMultipartParser(
        boundary,
        content_length=len(body),
        max_segment_count=MAX_PARTS,
        max_header_count=MAX_HEADERS,
        max_header_size=MAX_HEADER_BYTES,
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
            f"it has more than {MAX_PARTS} parts, or one of them more than {MAX_HEADERS} headers "
            f"or {MAX_HEADER_BYTES} bytes of a header"
        )
    actual = boundary_in(body)
    if actual not in {None, boundary}:
        return f"its Content-Type says boundary {boundary[:_MAX_SAID]!r}, its body {actual!r}"
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
