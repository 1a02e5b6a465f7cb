"""
The panels of the Grafana dashboard: what each shows, and what to do when it is bad.

`$job`, `$instance`, `$model` and `$version` are variables of the dashboard, which filter all
queries.  Pure data; deploy/grafana_dashboard.py makes the file of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

#: The filters of the queries: of the servers, of their models, and of the versions of these.
SERVER = 'job=~"$job",instance=~"$instance"'
MODEL = f'{SERVER},model=~"$model"'
VERSION = f'{MODEL},version=~"$version"'


@dataclass(frozen=True, slots=True)
class Panel:
    """A panel with lines over time."""

    title: str
    description: str  #: what it shows, and what to do when it is bad
    unit: str  #: by its name in Grafana
    queries: Sequence[tuple[str, str]]  #: expressions, and the names of their lines


def own(metric: str, *filters: str) -> str:
    """Return the selector of a metric of this server, by its name without the prefix."""
    return f"tensorferry_{metric}{{{','.join(filters)}}}"


def rate(metric: str, by: str) -> str:
    """Return the rate of the counter *metric*, summed over all labels but those in *by*."""
    return f"sum by ({by}) (rate({metric}[$__rate_interval]))"


def over(function: str, by: str, gauge: str) -> str:
    """Return the sum or max, as *function* names it, over all labels but those in *by*."""
    return f"{function} by ({by}) ({gauge})"


def ratio(part: str, whole: str, by: str) -> str:
    """Return the rate of one counter divided by that of another one."""
    return f"{rate(part, by)} / {rate(whole, by)}"


def quantile(share: float, metric: str, by: str) -> str:
    """Return a quantile of the histogram *metric*, whose name has no suffix."""
    name, brace, filters = metric.partition("{")
    total = rate(f"{name}_bucket{brace}{filters}", f"{by}, le" if by else "le")
    return f"histogram_quantile({share}, {total})"


def mean(metric: str, by: str) -> str:
    """Return the mean of the values of the histogram *metric*, whose name has no suffix."""
    name, brace, filters = metric.partition("{")
    total, count = (f"{name}_{suffix}{brace}{filters}" for suffix in ("sum", "count"))
    return ratio(total, count, by)


def phases(share: float) -> Panel:
    """Return the panel of a quantile of each phase of a request."""
    percent = f"p{share * 100:g}"
    seconds = own("request_phase_seconds", VERSION)
    return Panel(
        f"{percent} by phase",
        f"The {percent} of each phase of answered requests: decode, queue, run, encode, and whole, "
        "from the head of the request until its answer is ready. The longest phase is the one to "
        "look into: decode at the decode pool, queue at the queues and lanes, run at the model.",
        "s",
        [(quantile(share, seconds, "phase"), "{{phase}}")],
    )


TRAFFIC = [
    Panel(
        "Requests",
        "Requests for inference per second whose head has arrived. If it falls while clients "
        "complain, they do not reach the server: look at the open connections and at the proxy.",
        "reqps",
        [(rate(own("requests_total", MODEL), "model"), "{{model}}")],
    ),
    Panel(
        "Ends by outcome and cause",
        "How requests end. Refused and expired: the server has too little capacity for the time "
        "limits of the requests, see expected wait. Failed with internal: read the log. Failed "
        "with another cause: the clients send wrong requests. Cancelled: the clients hang up.",
        "reqps",
        [(rate(own("requests_ended_total", MODEL), "outcome, cause"), "{{outcome}} {{cause}}")],
    ),
    Panel(
        "Success ratio",
        "The share of the requests ended that were answered. When it falls, 'Ends by outcome and "
        "cause' shows the causes.",
        "percentunit",
        [
            (
                ratio(
                    own("requests_ended_total", MODEL, 'outcome="answered"'),
                    own("requests_ended_total", MODEL),
                    "model",
                ),
                "{{model}}",
            )
        ],
    ),
    Panel(
        "Requests in progress",
        "Requests that have arrived and have not ended. If it grows without end, clients send more "
        "than the server answers, or a stage is stuck: compare the panels of queues and decoding.",
        "short",
        [(over("sum", "model", own("requests_in_progress", MODEL)), "{{model}}")],
    ),
    Panel(
        "Answers by status",
        "Answers of all routes per second, health checks and refusals included. 429: overload. "
        "503: the server starts, stops or hangs, or overload in KServe v2. 504: too late. 500: "
        "read the log.",
        "reqps",
        [(rate(own("http_responses_total", SERVER), "code"), "{{code}}")],
    ),
    Panel(
        "Ready",
        "1 if the server answers 200 to /readyz, so that it gets traffic. If 0: read the reason in "
        "the answer of /readyz; a start takes as long as loading the models and their warm-up.",
        "short",
        [(own("ready", SERVER), "{{instance}}")],
    ),
]

LATENCY = [phases(0.5), phases(0.95), phases(0.99)]

BATCHING = [
    Panel(
        "Rows per batch",
        "The mean rows of the launched batches, and the largest batch that is allowed now. Batches "
        "grow with the load. Large batches and long queues: more capacity is needed. A largest "
        "batch that shrinks: the device has run out of memory.",
        "short",
        [
            (mean(own("batch_rows", VERSION), "model"), "{{model}}"),
            (over("max", "model", own("largest_batch_rows", VERSION)), "{{model}} largest"),
        ],
    ),
    Panel(
        "Launches by reason",
        "Why batches are launched. Mostly idle: the lanes keep up. Mostly full or lot: requests "
        "queue. deadline: time limits make batches smaller. retry: runs fail, read the log.",
        "ops",
        [(rate(own("launches_total", VERSION), "reason"), "{{reason}}")],
    ),
    Panel(
        "Lane busy share",
        "The share of time in which each lane runs batches. Near 1 with a growing expected wait: "
        "the device is the limit, add servers. Low with a growing expected wait: look at decoding "
        "and at the event loop.",
        "percentunit",
        [
            (
                rate(own("lane_busy_seconds_total", SERVER), "instance, lane"),
                "{{instance}} lane {{lane}}",
            )
        ],
    ),
    Panel(
        "Lane time by model",
        "Lanes that each model uses on average. If the expected wait of a model is high and its "
        "own lane time is small, other models use the lanes: raise its weight in serving.toml, or "
        "move a model to another server.",
        "short",
        [(rate(own("run_seconds_total", VERSION), "model"), "{{model}}")],
    ),
    Panel(
        "Run time and dispatch overhead",
        "The mean seconds of a run, and the part of it that passed outside the run itself. A "
        "longer run with as many rows: the machine is busy, or the model has slow inputs. A longer "
        "overhead: too few cores for the lanes and the event loop.",
        "s",
        [
            (
                ratio(own("run_seconds_total", VERSION), own("launches_total", VERSION), "model"),
                "{{model}} run",
            ),
            (
                ratio(
                    own("dispatch_seconds_total", VERSION), own("launches_total", VERSION), "model"
                ),
                "{{model}} dispatch",
            ),
        ],
    ),
    Panel(
        "Expected wait",
        "The expected seconds until the answer, beyond one run, for a request of one row that "
        "arrives now. Requests are refused if it and a run exceed their time limit. Scale on it: "
        "add servers while it is above a half of the time limit.",
        "s",
        [(over("max", "model", own("expected_wait_seconds", VERSION)), "{{model}}")],
    ),
    Panel(
        "Rows in queues",
        "Rows that wait to be launched. Some are normal, they fill the next batch. If they stay "
        "above the largest batch, the lanes do not keep up.",
        "short",
        [(over("sum", "model", own("queue_rows", VERSION)), "{{model}}")],
    ),
    Panel(
        "Oldest request in the queues",
        "How long the oldest request has waited. More than a few runs of the model: the lanes are "
        "taken by other models, or a run hangs.",
        "s",
        [(over("max", "model", own("queue_oldest_seconds", VERSION)), "{{model}}")],
    ),
    Panel(
        "Rows that were not answered",
        "Rows per second that ended without an answer, by outcome and stage or cause. A row that "
        "expired in run or after it has cost lane time for nothing: clients allow too little time.",
        "ops",
        [
            (
                rate(own("rows_total", VERSION, 'outcome!="answered"'), "outcome, stage"),
                "{{outcome}} {{stage}}",
            )
        ],
    ),
    Panel(
        "Lanes hung",
        "Lanes whose run was given up and has not ended. Above 0: the server reports itself as "
        "unhealthy; restart it, and find the model in the log.",
        "short",
        [
            (own("lanes_hung", SERVER), "{{instance}} hung"),
            (own("lanes", SERVER), "{{instance}} lanes"),
        ],
    ),
]

DECODING = [
    Panel(
        "Decode threads",
        "Threads that decode images or large bodies, and those that are busy. All busy all the "
        "time: decoding is the limit; use smaller images, more cores or --decode-threads.",
        "short",
        [
            (own("decode_threads_busy", SERVER), "{{instance}} busy"),
            (own("decode_threads", SERVER), "{{instance}} threads"),
        ],
    ),
    Panel(
        "Decode jobs",
        "Jobs that ended per second, and jobs that wait for a thread. Jobs wait and none ends: the "
        "pool is stuck, see 'Age of decode jobs'.",
        "short",
        [
            (rate(own("decode_jobs_total", SERVER), "instance"), "{{instance}} per s"),
            (own("decode_jobs_waiting", SERVER), "{{instance}} waiting"),
        ],
    ),
    Panel(
        "Age of decode jobs",
        "How long the oldest job has waited, and the oldest running one has run. A job that runs "
        "for seconds blocks its thread: find the image by the log, or restart the server.",
        "s",
        [
            (own("decode_oldest_job_seconds", SERVER), "{{instance}} waits"),
            (own("decode_longest_job_seconds", SERVER), "{{instance}} runs"),
        ],
    ),
]

FRONT_END = [
    Panel(
        "Event loop lag",
        "How late the timers of the event loop are. Every request waits for it at least twice. "
        "Above some milliseconds: too few cores, or too many small requests for one process.",
        "s",
        [
            (quantile(0.5, own("event_loop_lag_seconds", SERVER), ""), "p50"),
            (quantile(0.99, own("event_loop_lag_seconds", SERVER), ""), "p99"),
        ],
    ),
    Panel(
        "Connections",
        "Open connections, and accepted ones per second. As many accepted as requests: the clients "
        "do not keep their connections, which costs time.",
        "short",
        [
            (own("connections_open", SERVER), "{{instance}} open"),
            (
                rate(own("connections_accepted_total", SERVER), "instance"),
                "{{instance}} accepted per s",
            ),
        ],
    ),
    Panel(
        "Bytes of bodies",
        "Bytes of request bodies in memory. Near --max-queue-bytes, requests are refused with 429: "
        "clients send bodies faster than they are run.",
        "bytes",
        [(own("request_body_bytes", SERVER), "{{instance}}")],
    ),
]

PROCESS = [
    Panel(
        "Workers",
        "With --workers: the workers that are ready, those that are configured, and restarts per "
        "hour. Fewer ready than configured for minutes, or restarts: read the log of the worker.",
        "short",
        [
            (own("workers_ready", SERVER), "{{instance}} ready"),
            (own("workers", SERVER), "{{instance}} configured"),
            (
                f"increase({own('worker_restarts_total', SERVER)}[1h])",
                "{{instance}} restarts per hour",
            ),
        ],
    ),
    Panel(
        "Memory",
        "Memory of the process, and what is left before its limit. Growing without a load of a "
        "model: report it; restart the server before the limit is reached.",
        "bytes",
        [
            (f"process_resident_memory_bytes{{{SERVER}}}", "{{instance}} resident"),
            (own("memory_available_bytes", SERVER), "{{instance}} available"),
        ],
    ),
    Panel(
        "CPU",
        "Cores that the process uses. As many as the machine has: the CPU is the limit.",
        "short",
        [(rate(f"process_cpu_seconds_total{{{SERVER}}}", "instance"), "{{instance}}")],
    ),
    Panel(
        "File descriptors",
        "Open descriptors and their limit. Near the limit new connections are closed: raise it "
        "with LimitNOFILE= or ulimit -n.",
        "short",
        [
            (f"process_open_fds{{{SERVER}}}", "{{instance}} open"),
            (f"process_max_fds{{{SERVER}}}", "{{instance}} limit"),
        ],
    ),
]

GPU = [
    Panel(
        "GPU use",
        "The share of time in which a kernel ran on the GPU. Low while the lane is busy: the runs "
        "wait for the CPU or for copies.",
        "percentunit",
        [(own("gpu_utilization_ratio", SERVER), "{{instance}} GPU {{gpu}}")],
    ),
    Panel(
        "GPU memory",
        "Memory used on the GPU by all processes, and its size. TensorFlow takes nearly all unless "
        "--gpu-memory-limit is set, so a full memory alone is no fault.",
        "bytes",
        [
            (own("gpu_memory_used_bytes", SERVER), "{{instance}} GPU {{gpu}} used"),
            (own("gpu_memory_total_bytes", SERVER), "{{instance}} GPU {{gpu}} size"),
        ],
    ),
]

MODELS = [
    Panel(
        "Versions by state",
        "Versions of the models by state. failed: read the reason in GET /models/NAME or in the "
        "log. incomplete or waiting for long: the copy of the files has not ended.",
        "short",
        [(over("sum", "model, state", own("model_versions", MODEL)), "{{model}} {{state}}")],
    ),
    Panel(
        "Loads",
        "Loads of versions in the last hour, by outcome. Many loads of one model: its files change "
        "again and again.",
        "short",
        [
            (
                f"sum by (model, outcome) (increase(tensorferry_loads_total{{{MODEL}}}[1h]))",
                "{{model}} {{outcome}}",
            )
        ],
    ),
    Panel(
        "Versions of the server",
        "The version of the server, of TensorFlow and of Python on each instance. More than one "
        "while a rollout is under way.",
        "short",
        [
            (
                own("build_info", SERVER),
                "{{instance}}: {{version}}, TensorFlow {{tensorflow}}, Python {{python}}",
            )
        ],
    ),
]

#: The rows of the dashboard, from the top.
ROWS = {
    "Traffic": TRAFFIC,
    "Latency": LATENCY,
    "Batching": BATCHING,
    "Decode pool": DECODING,
    "Event loop and connections": FRONT_END,
    "Process": PROCESS,
    "GPU": GPU,
    "Models": MODELS,
}
