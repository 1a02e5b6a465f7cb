"""
Identify the format of a file by its bytes, not by its name.

Reads the disk and changes nothing; imports no TensorFlow.  A format is returned only if it is
certain; else the result is `None`.
"""

import re
import zlib
from codecs import getincrementaldecoder
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from model.repository.wire_format import Message, message_in, saved_variables

_UNPACK = "unpack it, and name what is in it"


@dataclass(frozen=True, slots=True)
class FileFormat:
    """A file format, as error messages name it."""

    what: str  #: its name with an article, such as "a ZIP archive"
    advice: str = ""  #: what to do with the file instead of serving it; may be empty


LFS_POINTER = FileFormat("a Git LFS pointer", "run git lfs pull")
FROZEN_GRAPH = FileFormat("a frozen graph")
SAVED_MODEL = FileFormat("the saved_model.pb of a SavedModel")
KERAS_ARCHIVE = FileFormat("a .keras file")
HDF5 = FileFormat("an HDF5 file")
GRAPH_TEXT = FileFormat("a graph written as text")

#: The first bytes of files.
_MAGIC = (
    (b"\x89HDF\r\n\x1a\n", HDF5),
    (b"version https://git-lfs.github.com/spec/", LFS_POINTER),
    (b"\x1f\x8b", FileFormat("a gzip archive", _UNPACK)),
    (b"\xfd7zXZ\0", FileFormat("an xz archive", _UNPACK)),
    (b"\x28\xb5\x2f\xfd", FileFormat("a Zstandard archive", _UNPACK)),
    (b"7z\xbc\xaf\x27\x1c", FileFormat("a 7z archive", _UNPACK)),
    (b"Rar!\x1a\x07", FileFormat("a RAR archive", _UNPACK)),
    (b"\x93NUMPY", FileFormat("an array of numpy")),
    (b"\xff\xd8\xff", FileFormat("a JPEG image")),
    (b"\x89PNG\r\n\x1a\n", FileFormat("a PNG image")),
    (b"GIF87a", FileFormat("a GIF image")),
    (b"GIF89a", FileFormat("a GIF image")),
    (b"%PDF-", FileFormat("a PDF document")),
)
_MESSAGES = {
    Message.GRAPH_DEF: FROZEN_GRAPH,
    Message.SAVED_MODEL: SAVED_MODEL,
    Message.META_GRAPH_DEF: FileFormat("a MetaGraphDef"),
    Message.ONNX: FileFormat("an ONNX model"),
    Message.EXAMPLE: FileFormat("a tf.Example"),
}
_TFLITE = FileFormat("a TensorFlow Lite model")
_PICKLE = FileFormat("a Python pickle, as PyTorch and joblib write it")
_WEB_PAGE = FileFormat("a web page, as after a failed download", "download the file again")
EMPTY = FileFormat("an empty file", "copy or download it again")
_BZIP2 = FileFormat("a bzip2 archive", _UNPACK)
_TAR = FileFormat("a tar archive", _UNPACK)
_CHECKPOINT = FileFormat("a part of a checkpoint")
_TFRECORD = FileFormat("a file of TFRecords")
_ZIPS = (
    (r"config\.json", KERAS_ARCHIVE),
    (r".+/data\.pkl", FileFormat("a PyTorch model")),
    (r".+\.npy", FileFormat("a file of numpy's arrays")),
    (r"(.*/)?saved_model\.pb", FileFormat("a ZIP archive of a SavedModel", _UNPACK)),
)
_ZIP = FileFormat("a ZIP archive", _UNPACK)

_PAGE = re.compile(rb"(\xef\xbb\xbf)?\s*<(!doctype\s+html|html|head|\?xml)\b", re.IGNORECASE)
_GRAPH_AS_TEXT = re.compile(rb"(\s*#[^\n]*\n)*\s*(node|meta_info_def)\s*:?\s*\{\s")
#: The first bytes of a pickle of protocol 2 to 5: the version, then a frame or the first object.
_PICKLED = re.compile(rb"\x80(\x02|\x03|[\x04\x05]\x95)[\x80\]}()cX]?", re.DOTALL)
#: The last bytes of the index of a checkpoint.
_TABLE_END = b"\x57\xfb\x80\x8b\x24\x75\x47\xdb"


def format_of(path: Path) -> FileFormat | None:
    """Return the format of the file at *path*, or None if it is not certain; raises OSError."""
    with path.open("rb") as file:
        if not file.read(1):
            return EMPTY
        if not path.stat().st_size:  # such as a file in /proc
            raise OSError(None, "not a regular file")
        with mmap(file.fileno(), 0, access=ACCESS_READ) as data:
            if data[:4] == b"PK\x03\x04":
                return _zip_format(path)
            message = message_in(data)
            return _MESSAGES[message] if message is not None else _by_magic(data)


def text_format_of(path: Path) -> FileFormat | None:
    """
    Return the format of the text in the file at *path*: JSON or other text; None if not text.

    Reads the first 4096 bytes.  Raises OSError.
    """
    with path.open("rb") as file:
        begin = file.read(4096)
    try:
        # Incrementally, since the last character may be cut in two.
        text = getincrementaldecoder("utf-8")().decode(begin)
    except UnicodeDecodeError:
        return None
    if not all(each.isprintable() or each.isspace() for each in text):
        return None
    return FileFormat("JSON" if text.lstrip()[:1] in ("{", "[") else "a file of text")


def has_variables(path: Path) -> bool:
    """
    Return whether the SavedModel file at *path* needs variables, which other files beside it store.
    """
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
        return saved_variables(data)


def _by_magic(data: mmap) -> FileFormat | None:
    for magic, found in _MAGIC:
        if data[: len(magic)] == magic:
            return found
    begin = data[:4096]
    signs = {
        _TFLITE: begin[4:8] == b"TFL3",
        _BZIP2: re.match(rb"BZh[1-9]1AY&SY", begin),
        _TAR: begin[257:262] == b"ustar",
        _WEB_PAGE: _PAGE.match(begin),
        GRAPH_TEXT: _GRAPH_AS_TEXT.match(begin),
        _PICKLE: _PICKLED.match(begin) and data[-1:] == b".",
        _CHECKPOINT: data[-8:] == _TABLE_END,
        _TFRECORD: _is_tfrecord(data),
    }
    return next((found for found, sign in signs.items() if sign), None)


def _is_tfrecord(data: mmap) -> bool:
    """
    Whether *data* begins with three complete records, or consists of one or two complete records.

    A record consists of the length of its data (8 bytes, not zero), a checksum (4 bytes), the data,
    and a checksum (4 bytes).
    """
    at, records = 0, 0
    while at < len(data) and records < 3:
        size = int.from_bytes(data[at : at + 8], "little")
        if size == 0:
            return False
        at += 16 + size
        records += 1
    return at == len(data) or (records == 3 and at < len(data))


def _zip_format(path: Path) -> FileFormat:
    try:
        with ZipFile(path) as archive:
            names = archive.namelist()
    except (BadZipFile, NotImplementedError, ValueError, zlib.error):
        return KERAS_ARCHIVE  # cut short; the loader reports the error
    for pattern, found in _ZIPS:
        if any(re.fullmatch(pattern, name) for name in names):
            return found
    return _ZIP
