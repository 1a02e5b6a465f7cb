"""Measured run times between one start and the next."""

import json
from pathlib import Path

import pytest

from model.repository.cache import CacheFolder, CacheUnavailableError
from model.repository.latencies import store_latencies, stored_latencies

MEASURED = {1: 0.25, 2: 0.375, 4: 0.1, 128: 3.0000000000000004}


@pytest.fixture
def cache(tmp_path: Path) -> CacheFolder:
    """A cache folder that is not there yet."""
    return CacheFolder(tmp_path / "cache")


def test_what_was_stored_is_found_to_the_last_bit(cache: CacheFolder) -> None:
    """With the rows as numbers again, and under its own fingerprint only."""
    store_latencies(cache, "abc", MEASURED)
    assert stored_latencies(cache, "abc") == MEASURED
    assert stored_latencies(cache, "abd") is None


def test_nothing_is_found_in_a_cache_that_is_not_there(cache: CacheFolder) -> None:
    """And looking makes nothing."""
    assert stored_latencies(cache, "abc") is None
    assert not cache.root.exists()


def test_the_last_to_store_wins(cache: CacheFolder) -> None:
    """Nothing of the earlier measurement stays."""
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
def test_a_damaged_file_is_as_good_as_none(cache: CacheFolder, text: str) -> None:
    """The server measures again, whatever stands there."""
    path = cache.latency_file("abc")
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert stored_latencies(cache, "abc") is None
    store_latencies(cache, "abc", MEASURED)
    assert stored_latencies(cache, "abc") == MEASURED


def test_a_cache_that_cannot_be_used_says_so(tmp_path: Path) -> None:
    """A file stands where the folder should."""
    cache = CacheFolder(tmp_path / "cache")
    cache.root.write_text("")
    with pytest.raises(CacheUnavailableError, match="XDG_CACHE_HOME"):
        stored_latencies(cache, "abc")
    with pytest.raises(CacheUnavailableError, match="XDG_CACHE_HOME"):
        store_latencies(cache, "abc", MEASURED)
