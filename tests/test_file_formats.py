"""The format of a file by its bytes: model/repository/file_formats.py and wire_format.py."""

import pickle
from functools import reduce
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.repository.file_formats import format_of, text_format_of
from model.repository.wire_format import Message, message_in
from tests.wire_messages import EXAMPLE, GRAPH, META, ONNX, SAVED, inner, node, number, zipped

MESSAGES = {
    Message.GRAPH_DEF: [GRAPH, node(), node() + inner(2, inner(1, inner(1, b"f")))],
    Message.SAVED_MODEL: [SAVED, number(1, 1) + inner(2, META) * 2],
    Message.META_GRAPH_DEF: [META, META + inner(3, b"saver"), inner(2, GRAPH)],
    Message.ONNX: [ONNX],
    Message.EXAMPLE: [EXAMPLE],
}


@pytest.mark.parametrize(
    ("message", "data"), [(message, data) for message, each in MESSAGES.items() for data in each]
)
def test_a_message_is_identified_by_its_fields(message: Message, data: bytes) -> None:
    """By its first fields, since a graph may be long."""
    assert message_in(data) is message
    assert message_in(data[:-1]) is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"cat\ndog\n",
        b"\ncat\ndog\n" * 50,
        b"\xff" * 100,
        bytes(100),
        number(1, 1),
        number(1, 2) + inner(2, META),
        SAVED + inner(9, b"more"),
        node(operation=b"an operation"),
        inner(1, b"name"),
        inner(4, b"versions alone"),
        reduce(lambda data, _: inner(2, data), range(2000), b""),
    ],
)
def test_uncertain_bytes_are_no_message(data: bytes) -> None:
    """The function does not guess."""
    assert message_in(data) is None


@given(st.binary(max_size=200))
def test_any_bytes_are_read_without_an_error(data: bytes) -> None:
    """For every cut of a message."""
    message_in(data)
    message_in(SAVED[: len(data)] + data)


def npy() -> bytes:
    """Return the file that numpy saves for an array."""
    file = BytesIO()
    np.save(file, np.zeros(3))
    return file.getvalue()


RECORD = (5).to_bytes(8, "little") + b"crc1" + b"hello" + b"crc2"

FORMATS = {
    "nothing": (b"", "an empty file"),
    "GraphDef": (GRAPH, "a frozen graph"),
    "SavedModel": (SAVED, "the saved_model.pb of a SavedModel"),
    "MetaGraphDef": (META, "a MetaGraphDef"),
    "ONNX": (ONNX, "an ONNX model"),
    "Example": (EXAMPLE, "a tf.Example"),
    "records": (RECORD * 5, "a file of TFRecords"),
    "a record": (RECORD, "a file of TFRecords"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(8), "an HDF5 file"),
    "Keras": (zipped("metadata.json", "config.json"), "a .keras file"),
    "half of a ZIP archive": (zipped("config.json")[:40], "a .keras file"),
    "PyTorch": (zipped("archive/data.pkl"), "a PyTorch model"),
    "zipped SavedModel": (zipped("m/", "m/saved_model.pb"), "a ZIP archive of a SavedModel"),
    "npz": (zipped("a.npy"), "a file of numpy's arrays"),
    "ZIP": (zipped("readme.txt"), "a ZIP archive"),
    "npy": (npy(), "an array of numpy"),
    "TensorFlow Lite": (b"\x1c\0\0\0TFL3" + bytes(20), "a TensorFlow Lite model"),
    "pickle": (pickle.dumps({"a": 1}), "a Python pickle, as PyTorch and joblib write it"),
    "old pickle": (pickle.dumps([1], 2), "a Python pickle, as PyTorch and joblib write it"),
    "LFS": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12\n",
        "a Git LFS pointer",
    ),
    "page": (b"\n<!DOCTYPE html>\n<html>", "a web page, as after a failed download"),
    "XML": (b"<?xml version='1.0'?><Error/>", "a web page, as after a failed download"),
    "text graph": (b'node {\n  name: "x"\n', "a graph written as text"),
    "gzip": (b"\x1f\x8b\x08\0", "a gzip archive"),
    "bzip2": (b"BZh91AY&SY", "a bzip2 archive"),
    "tar": (b"m/".ljust(257, b"\0") + b"ustar\0", "a tar archive"),
    "index": (bytes(40) + b"\x57\xfb\x80\x8b\x24\x75\x47\xdb", "a part of a checkpoint"),
    "JPEG": (b"\xff\xd8\xff\xe0", "a JPEG image"),
    "anything": (b"\xff" * 100, None),
    "zeros": (bytes(100), None),
    "labels": (b"cat\ndog\n", None),
    "labels that begin oddly": (b"BZhang\nGIF8\n", None),
}


@pytest.mark.parametrize(("data", "what"), FORMATS.values(), ids=FORMATS)
def test_the_bytes_of_a_file_decide_its_format(
    tmp_path: Path, data: bytes, what: str | None
) -> None:
    """Whatever its name."""
    path = tmp_path / "file.pb"
    path.write_bytes(data)
    found = format_of(path)
    assert (found and found.what) == what


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"cat\ndog\n", "a file of text"),
        ("ü".encode() * 4000, "a file of text"),
        (b"x" + "ü".encode() * 4000, "a file of text"),
        (b' {"a": 1}', "JSON"),
        (b"[1, 2]", "JSON"),
        (b"\xff" * 100, None),
        (b"a\0b", None),
    ],
)
def test_text_is_distinguished_from_other_bytes(
    tmp_path: Path, data: bytes, what: str | None
) -> None:
    """By the first bytes, even if they end within a character."""
    path = tmp_path / "file.pb"
    path.write_bytes(data)
    found = text_format_of(path)
    assert (found and found.what) == what
