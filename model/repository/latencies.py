"""Store measured run times between starts, under a hash of everything that determines them."""

from model.repository.cache import CacheFolder, DamagedCacheError, read_json, write_json_atomically


def stored_latencies(cache: CacheFolder, fingerprint: str) -> dict[int, float] | None:
    """
    Return the stored run times, a map from rows to seconds; None if they are absent or damaged.

    *fingerprint* is the hash under which they were stored.  Raises `CacheUnavailableError`.
    """
    try:
        value = read_json(cache.latency_file(fingerprint))
    except DamagedCacheError:
        return None
    if not isinstance(value, dict):
        return None
    try:
        measured = {int(rows): float(seconds) for rows, seconds in value.items()}
    except (TypeError, ValueError, OverflowError):
        return None
    sound = 1 in measured and all(
        rows > 0 and 0 < seconds < float("inf") for rows, seconds in measured.items()
    )
    return measured if sound else None


def store_latencies(cache: CacheFolder, fingerprint: str, measured: dict[int, float]) -> None:
    """
    Store *measured*, a map from the rows of a run to its seconds, under the hash *fingerprint*.

    Raises `CacheUnavailableError`.
    """
    value = {str(rows): seconds for rows, seconds in measured.items()}
    write_json_atomically(cache.latency_file(fingerprint), value)
