"""Protocol buffers and archives that look like models, made without TensorFlow."""

from io import BytesIO
from zipfile import ZipFile


def number(field: int, value: int) -> bytes:
    """Return a field of a protocol buffer that is a small number."""
    return bytes([field << 3, value])


def inner(field: int, *parts: bytes) -> bytes:
    """Return a field of a protocol buffer that holds *parts*."""
    data = b"".join(parts)
    size, rest = [], len(data)
    while rest > 0x7F:
        size.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes([field << 3 | 2, *size, rest]) + data


def node(name: bytes = b"input", operation: bytes = b"Placeholder") -> bytes:
    """Return a node of a graph."""
    return inner(1, inner(1, name), inner(2, operation), inner(5, b"x" * 300))


GRAPH = node() + node(b"scores", b"Softmax") + inner(4, number(1, 22))
META = inner(1, inner(2, inner(1, b"an op")), inner(5, b"2.18")) + inner(2, GRAPH)
SAVED = number(1, 1) + inner(2, META)
ONNX = number(1, 8) + inner(2, b"pytorch") + inner(7, inner(1, b"nodes")) + inner(8, number(2, 17))
EXAMPLE = inner(1, inner(1, inner(1, b"image"), inner(2, b"")))


def zipped(*names: str) -> bytes:
    """Return a ZIP archive of empty files."""
    file = BytesIO()
    with ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, "")
    return file.getvalue()
