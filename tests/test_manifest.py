"""The list of a model's files: model/repository/manifest.py; tests/test_cache.py checks files."""

import json
from pathlib import Path
from typing import Any

import pytest

from model.repository.manifest import (
    FileDigest,
    ManifestError,
    as_listed,
    digest_of,
    listed_files,
    read_manifest,
)

HASH = digest_of(b"x").sha256


def test_a_list_is_read_as_it_was_written() -> None:
    """With paths into subfolders, and with other keys beside it."""
    files = {"saved_model.pb": digest_of(b""), "variables/variables.index": digest_of(b"abc")}
    assert listed_files({"files": as_listed(files), "created": None}) == files


def test_capital_digits_are_the_same_hash() -> None:
    """As some programs print it."""
    entry = {"size": 1, "sha256": HASH.upper(), "mode": 0o644}
    assert listed_files({"files": {"a": entry}}) == {"a": FileDigest(1, HASH)}


@pytest.mark.parametrize(
    "path",
    ["", "/etc/passwd", "..", "../a", "a/../b", "a//b", "a/", "./a", ".a", "a/.b", "a\\b", "a\0"],
)
def test_a_path_that_leaves_the_folder_or_is_hidden_is_refused(path: str) -> None:
    """So is one that has more than one spelling."""
    with pytest.raises(ManifestError, match="cannot be the path of a file") as caught:
        listed_files({"files": {path: {"size": 1, "sha256": HASH}}})
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "files",
    [
        None,
        [],
        {"a": None},
        {"a": {"size": 1}},
        {"a": {"sha256": HASH}},
        {"a": {"size": "1", "sha256": HASH}},
        {"a": {"size": -1, "sha256": HASH}},
        {"a": {"size": True, "sha256": HASH}},
        {"a": {"size": 1.0, "sha256": HASH}},
        {"a": {"size": 1, "sha256": HASH[1:]}},
        {"a": {"size": 1, "sha256": "g" + HASH[1:]}},
    ],
)
def test_a_list_without_sizes_and_hashes_is_refused(files: Any) -> None:
    """Whatever else it has."""
    with pytest.raises(ManifestError):
        listed_files({"files": files})
    with pytest.raises(ManifestError):
        listed_files({})


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"null", b"\xff\xfe", 100_000 * b"[", b'{"size": 1' + 5000 * b"0}"]
)
def test_a_manifest_that_is_no_json_object_is_refused(tmp_path: Path, data: bytes) -> None:
    """In one line."""
    (tmp_path / "manifest.json").write_bytes(data)
    with pytest.raises(ManifestError) as caught:
        read_manifest(tmp_path)
    assert str(caught.value).isprintable()


def test_all_keys_of_a_manifest_are_returned(tmp_path: Path) -> None:
    """A missing file is an error of its own."""
    with pytest.raises(FileNotFoundError):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text(json.dumps({"format": 1, "files": {}}))
    assert read_manifest(tmp_path) == {"format": 1, "files": {}}
