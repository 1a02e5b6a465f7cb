"""
The records of workers below a path of a registry: where they are, and what is read from there.

The only effect is a line in the log for what is no record.
"""

from twisted.logger import Logger

from server.discovery.engine_url import EngineURL
from server.discovery.worker_record import RecordError, WorkerRecord, from_json

_log = Logger()

#: The path of a URL without one: a registry is often shared with other programs.
DEFAULT_PATH = "tensorferry"


def folder_of(url: EngineURL) -> str:
    """Return the path that has a record of each worker below it, without a slash at its ends."""
    return f"{url.path or DEFAULT_PATH}/workers"


def read_record(worker_id: str, text: bytes) -> WorkerRecord | None:
    """Return the record in *text*, which is stored under *worker_id*; None if it is none."""
    try:
        record = from_json(text)
    except RecordError as error:
        reason = str(error)
    else:
        if record.id == worker_id:
            return record
        reason = f"it has the id {record.id!r}"
    _log.warn(
        "what is stored as the worker {id!r} is left out: {reason}", id=worker_id, reason=reason
    )
    return None
