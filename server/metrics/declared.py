"""
Declare every metric of the server: its name, type, labels, meaning, and its value for several
workers together.

Pure data.  docs/metrics.md has the same table, which a test compares.  The metrics ``process_*``
and ``python_gc_*`` are those of prometheus_client.
"""

from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """The types of metrics, by the names that Prometheus uses."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Combine(Enum):
    """How the values of several workers become one, for series of the same labels."""

    SUM = "sum"
    #: Also for what is the same in all workers, since they share the machine and the files.
    MAX = "max"
    #: Of the workers whose value is finite; +Inf if there is none.
    MEAN = "mean"


@dataclass(frozen=True, slots=True, eq=False)
class Metric:
    """One metric.  Metrics are compared by identity; the name of a time ends with the unit."""

    name: str
    kind: Kind
    help: str  #: what it means, with the unit; plain text in one line
    labels: tuple[str, ...] = ()
    combine: Combine = Combine.SUM


def _counter(name: str, text: str, *labels: str) -> Metric:
    return Metric(f"tensorferry_{name}", Kind.COUNTER, text, labels)


def _gauge(name: str, text: str, *labels: str, combine: Combine = Combine.SUM) -> Metric:
    return Metric(f"tensorferry_{name}", Kind.GAUGE, text, labels, combine)


def _histogram(name: str, text: str, *labels: str) -> Metric:
    return Metric(f"tensorferry_{name}", Kind.HISTOGRAM, text, labels)


# Requests.

REQUESTS = _counter(
    "requests_total",
    "Requests for inference for this model, counted when the head is complete.",
    "model",
)
REQUESTS_ENDED = _counter(
    "requests_ended_total",
    "Requests for inference that have ended, by outcome (answered, refused, cancelled, expired, "
    "failed) and its cause or stage.",
    "model",
    "outcome",
    "cause",
)
REQUESTS_IN_PROGRESS = _gauge(
    "requests_in_progress", "Requests for inference that have not ended.", "model"
)
REQUEST_PHASE = _histogram(
    "request_phase_seconds",
    "Seconds of each phase of an answered request: decode, queue, run, encode, and whole, from its "
    "head until its answer is ready.",
    "model",
    "version",
    "phase",
)

# Batches.

BATCH_ROWS = _histogram("batch_rows", "Rows of each launched batch.", "model", "version")
LAUNCHES = _counter(
    "launches_total",
    "Batches launched, retries included, by the reason of the launch.",
    "model",
    "version",
    "reason",
)
RUN_SECONDS = _counter(
    "run_seconds_total",
    "Seconds of lane time that the runs of batches took, dispatch overhead included.",
    "model",
    "version",
)
DISPATCH_SECONDS = _counter(
    "dispatch_seconds_total",
    "Seconds of run_seconds_total that the lane did not spend in the run itself.",
    "model",
    "version",
)
ROWS = _counter(
    "rows_total",
    "Rows that have ended, by outcome (answered, failed, refused, expired, cancelled) and its "
    "cause or stage.",
    "model",
    "version",
    "outcome",
    "stage",
)
ROWS_RUN = _counter("rows_run_total", "Rows in launched batches.", "model", "version")

# Queues.

QUEUE_ROWS = _gauge("queue_rows", "Rows that wait in the queues of a version.", "model", "version")
QUEUE_OLDEST = _gauge(
    "queue_oldest_seconds",
    "Seconds for which the oldest request in the queues of a version has waited; 0 if none waits.",
    "model",
    "version",
    combine=Combine.MAX,
)
EXPECTED_WAIT = _gauge(
    "expected_wait_seconds",
    "Expected seconds from the arrival of a request of one row until its answer, beyond its run, "
    "as admission calculates them; at least the age of the oldest request. +Inf while all lanes "
    "hang.",
    "model",
    "version",
    combine=Combine.MEAN,
)
LARGEST_BATCH = _gauge(
    "largest_batch_rows",
    "Rows of the largest batch that is allowed now.",
    "model",
    "version",
    combine=Combine.MAX,
)

# The repository.

MODEL_VERSIONS = _gauge(
    "model_versions",
    "Versions on disk or in memory, by state.",
    "model",
    "state",
    combine=Combine.MAX,
)
LOADS = _counter(
    "loads_total",
    "Loads of versions that have ended, by outcome (loaded, failed).",
    "model",
    "outcome",
)

# The device.

LANES = _gauge("lanes", "Lanes: threads that run batches.")
LANES_HUNG = _gauge(
    "lanes_hung", "Lanes that are not used, because their run was given up and has not ended."
)
LANE_BUSY = _counter(
    "lane_busy_seconds_total",
    "Seconds for which a lane has run batches, warm-up and the run under way included.",
    "lane",
)

# The front end.

EVENT_LOOP_LAG = _histogram(
    "event_loop_lag_seconds", "Seconds by which a timer of the event loop, every 0.1 s, was late."
)
DECODE_THREADS = _gauge("decode_threads", "Threads of the decode pool.")
DECODE_BUSY = _gauge("decode_threads_busy", "Threads of the decode pool that run a job.")
DECODE_WAITING = _gauge("decode_jobs_waiting", "Jobs that wait for a thread of the decode pool.")
DECODE_OLDEST = _gauge(
    "decode_oldest_job_seconds",
    "Seconds for which the oldest job has waited for a thread of the decode pool; 0 if none waits.",
    combine=Combine.MAX,
)
DECODE_LONGEST = _gauge(
    "decode_longest_job_seconds",
    "Seconds for which the oldest running job of the decode pool has run; 0 if none runs.",
    combine=Combine.MAX,
)
DECODE_JOBS = _counter("decode_jobs_total", "Jobs of the decode pool that have run to their end.")
CONNECTIONS_OPEN = _gauge("connections_open", "Open connections of clients.")
CONNECTIONS_ACCEPTED = _counter("connections_accepted_total", "Connections accepted.")
CONNECTIONS_REFUSED = _counter(
    "connections_refused_total", "Accepted connections over --max-connections, which were closed."
)
BODY_BYTES = _gauge("request_body_bytes", "Bytes of request bodies that are held in memory.")
RESPONSES = _counter(
    "http_responses_total", "Answers of all routes, early refusals included, by status.", "code"
)

# The process.

MEMORY_AVAILABLE = _gauge(
    "memory_available_bytes",
    "Bytes that the process can still allocate, in RAM and below the limits of its control groups.",
    combine=Combine.MAX,
)
READY = _gauge("ready", "1 if GET /readyz answers 200, else 0.", combine=Combine.MAX)
ANNOUNCED = _gauge(
    "announced",
    "1 while the registry of --announce is known to list the server, else 0.",
    combine=Combine.MAX,
)
ANNOUNCE_FAILURES = _counter(
    "announce_failures_total", "Calls to the registry of --announce that have failed."
)
BUILD_INFO = _gauge(
    "build_info",
    "Always 1; the labels are the versions of the server, TensorFlow and Python.",
    "version",
    "tensorflow",
    "python",
    combine=Combine.MAX,
)

# The GPUs.

GPU_UTILIZATION = _gauge(
    "gpu_utilization_ratio",
    "Share of time, from 0 to 1, in which a kernel ran on the GPU, for any process.",
    "gpu",
    combine=Combine.MAX,
)
GPU_MEMORY_USED = _gauge(
    "gpu_memory_used_bytes",
    "Bytes of GPU memory that all processes use.",
    "gpu",
    combine=Combine.MAX,
)
GPU_MEMORY_TOTAL = _gauge(
    "gpu_memory_total_bytes", "Bytes of GPU memory.", "gpu", combine=Combine.MAX
)

# The workers, if there are several.

WORKERS = _gauge("workers", "Workers, as --workers states; only if there are several.")
WORKERS_READY = _gauge("workers_ready", "Workers whose models are loaded and that take requests.")
WORKERS_SILENT = _gauge(
    "workers_silent",
    "Workers that did not report within 1 s, but for those that start; the last counts of these "
    "are added, and no gauges.",
)
WORKER_RESTARTS = _counter(
    "worker_restarts_total", "Restarts of workers that had ended by themselves or were killed."
)

#: Those that a server without workers does not have.
OF_WORKERS = (WORKERS, WORKERS_READY, WORKERS_SILENT, WORKER_RESTARTS)

#: All metrics, in the order of the text.
METRICS: tuple[Metric, ...] = tuple(it for it in globals().values() if isinstance(it, Metric))
