"""Run times that are stored between starts: model/repository/latencies.py."""

import json
from pathlib import Path

import pytest

from model.repository.cache import CacheFolder, CacheUnavailableError
from model.repository.latencies import store_latencies, stored_latencies

MEASURED = {1: 0.25, 2: 0.375, 4: 0.1, 128: 3.0000000000000004}


@pytest.fixture
def cache(tmp_path: Path) -> CacheFolder:
    """A cache folder that does not exist yet."""
    return CacheFolder(tmp_path / "cache")


def test_stored_run_times_are_found_exactly(cache: CacheFolder) -> None:
    """With rows as numbers, and only under their own fingerprint."""
    store_latencies(cache, "abc", MEASURED)
    assert stored_latencies(cache, "abc") == MEASURED
    assert stored_latencies(cache, "abd") is None


def test_a_cache_that_does_not_exist_has_no_run_times(cache: CacheFolder) -> None:
    """A search does not create it."""
    assert stored_latencies(cache, "abc") is None
    assert not cache.root.exists()


def test_the_last_write_counts(cache: CacheFolder) -> None:
    """No part of the earlier measurement remains."""
    store_latencies(cache, "abc", MEASURED)
    store_latencies(cache, "abc", {1: 0.5})
    assert stored_latencies(cache, "abc") == {1: 0.5}


@pytest.mark.parametrize(
    "text",
    [
        "",
        '{"1": 0.5',
        "\ufffd\x00",
        "[1, 0.5]",
        "null",
        "{}",
        '{"2": 0.5}',
        '{"one": 0.5}',
        '{"1": 0.5, "1.5": 0.6}',
        '{"1": "quick"}',
        '{"1": null}',
        '{"1": [0.5]}',
        '{"1": 0}',
        '{"1": -0.5}',
        '{"1": NaN}',
        '{"1": Infinity}',
        '{"1": 1e999}',
        json.dumps({"1": 10**400}),
        '{"1": 0.5, "0": 0.5}',
        '{"1": 0.5, "-2": 0.5}',
    ],
)
def test_a_damaged_file_counts_as_missing(cache: CacheFolder, text: str) -> None:
    """The server measures again after any damage."""
    path = cache.latency_file("abc")
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert stored_latencies(cache, "abc") is None
    store_latencies(cache, "abc", MEASURED)
    assert stored_latencies(cache, "abc") == MEASURED


def test_a_cache_that_cannot_be_used_is_an_error(tmp_path: Path) -> None:
    """A file has the name of the folder."""
    cache = CacheFolder(tmp_path / "cache")
    cache.root.write_text("")
    with pytest.raises(CacheUnavailableError, match="XDG_CACHE_HOME"):
        stored_latencies(cache, "abc")
    with pytest.raises(CacheUnavailableError, match="XDG_CACHE_HOME"):
        store_latencies(cache, "abc", MEASURED)
