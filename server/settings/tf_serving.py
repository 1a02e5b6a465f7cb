"""
The flags of TensorFlow Serving that are no settings: what each sets here, or why it is ignored.

They are taken on the command line alone, so that a command of `tensorflow_model_server` starts this
server.  ``--model_base_path``, ``--model_name`` and ``--model_config_file`` are settings: see
server/settings/table.py.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.repository.tf_serving_config import read_batching_parameters
from server.settings.kinds import Kind, Number, Switch, TextKind, WholeNumber
from server.settings.model_kinds import BatchingParametersPath


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a flag with a value means here."""

    texts: Mapping[str, str]  #: the texts of the options that it sets, by name
    notes: tuple[str, ...] = ()  #: what has no effect, a line each


@dataclass(frozen=True, slots=True)
class _Anything(TextKind):
    """The value of a flag that is ignored."""

    metavar: str = "VALUE"
    expected: str = "any text"

    def parse(self, text: str) -> str:
        """Return *text*."""
        return text


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag."""

    name: str
    kind: Kind[Any]  # Any: each flag has its own type
    effect: str  #: what it sets, or the reason why it is ignored
    meaning: Callable[[Any], Meaning] | None = None  #: of a value; None: it is ignored

    @property
    def takes_no_value(self) -> bool:
        """Whether the flag may be given without a value, which means true."""
        return isinstance(self.kind, Switch)

    def read(self, text: str) -> Meaning:
        """
        Return what the flag means with the value *text*; the notes begin with the flag.

        Raises ValueError or OSError as its kind does.
        """
        shown, value = f"--{self.name}={text}", self.kind.parse(text)
        if self.meaning is None:
            return Meaning({}, (f"{shown} is ignored: {self.effect}",))
        meaning = self.meaning(value)
        settings = [f"{key} = {it}" for key, it in meaning.texts.items()] or ["no setting"]
        return Meaning(meaning.texts, (f"{shown} sets {' and '.join(settings)}", *meaning.notes))


def _listen(port: int) -> Meaning:
    return Meaning({"listen": f"tcp:{port}"})


def _timeout(seconds: float) -> Meaning:
    return Meaning({"default_timeout": f"{seconds!r}"})


def _poll(seconds: int) -> Meaning:
    return Meaning({"poll_interval": str(seconds) if seconds > 0 else "once"})


def _cors(enabled: bool) -> Meaning:
    return Meaning({"cors_origins": "*"} if enabled else {})


def _batching(path: Path) -> Meaning:
    found = read_batching_parameters(path)
    texts = {}
    if found.max_batch_size is not None:
        texts["max_batch_size"] = str(found.max_batch_size)
    if found.batch_timeout_micros is not None:
        texts["max_queue_delay_ms"] = f"{found.batch_timeout_micros / 1000!r}"
    return Meaning(texts, found.notes)


_SETTING = (
    Flag(
        "rest_api_port",
        WholeNumber("PORT", at_least=1, at_most=65535),
        "The same as --listen tcp:PORT, on all interfaces; --port is then that of gRPC.",
        _listen,
    ),
    Flag(
        "rest_api_timeout_in_ms",
        Number("MS", above=0, shift=-3),
        "The same as --default-timeout, in milliseconds.",
        _timeout,
    ),
    Flag(
        "batching_parameters_file",
        BatchingParametersPath(),
        "A file with the values of --max-batch-size and --max-queue-delay-ms.",
        _batching,
    ),
    Flag(
        "file_system_poll_wait_seconds",
        WholeNumber("SECONDS", at_least=-1),
        "The same as --poll-interval; 0 and -1 mean once.",
        _poll,
    ),
    Flag(
        "rest_api_enable_cors_support",
        Switch(),
        "The same as --cors-origins *.",
        _cors,
    ),
)

_NO_GRPC = "gRPC is not served"
_THREADS = "--lanes states the threads that run models"
_RETRIES = "a load that failed is tried again when the files change"
_TFLITE = "models of TensorFlow Lite are not served"
_WARMUP = "each size of batch is warmed up on its own"
_ONE_LOAD = "one version is loaded at a time, beside those that serve"
_XLA = "the graph is run without XLA"

#: The flags without effect, each with the reason; those in `_SWITCHES` need no value.
_IGNORED = {
    "grpc_socket_path": _NO_GRPC,
    "grpc_channel_arguments": _NO_GRPC,
    "grpc_max_threads": _NO_GRPC,
    "enable_grpc_healthcheck_service": _NO_GRPC,
    "use_alts_credentials": _NO_GRPC,
    "ssl_config_file": f"{_NO_GRPC}; --listen ssl:PORT:... serves HTTPS",
    "rest_api_num_threads": "one thread serves all connections",
    "enable_batching": "requests that wait share batches; --max-batch-size 1 prevents it",
    "enable_per_model_batching_parameters": "serving.toml has the batching of each model",
    "allow_version_labels_for_unavailable_models": "the version of a label is always loaded",
    "model_config_file_poll_wait_seconds": "the file is read with the folders of the models",
    "num_load_threads": _ONE_LOAD,
    "num_unload_threads": _ONE_LOAD,
    "max_num_load_retries": _RETRIES,
    "load_retry_interval_micros": _RETRIES,
    "flush_filesystem_caches": "the caches of the system are left to it",
    "tensorflow_session_parallelism": _THREADS,
    "tensorflow_intra_op_parallelism": _THREADS,
    "tensorflow_inter_op_parallelism": _THREADS,
    "tensorflow_session_config_file": _THREADS,
    "platform_config_file": "TensorFlow is the only platform",
    "per_process_gpu_memory_fraction": "--gpu-memory-limit states the bytes",
    "saved_model_tags": "the graph with the tag serve is loaded",
    "enable_model_warmup": _WARMUP,
    "num_request_iterations_for_warmup": _WARMUP,
    "monitoring_config_file": "GET /metrics reports, without a setting",
    "remove_unused_fields_from_bundle_metagraph": "it does not affect answers",
    "prefer_tflite_model": _TFLITE,
    "num_tflite_pools": _TFLITE,
    "num_tflite_interpreters_per_pool": _TFLITE,
    "enable_signature_method_name_check": "the method name of a signature is not checked",
    "xla_cpu_compilation_enabled": _XLA,
    "xla_gpu_compilation_enabled": _XLA,
    "enable_profiler": "there is no profiler service",
    "thread_pool_factory_config_file": _THREADS,
    "mixed_precision": "the graph is run as it is",
    "skip_initialize_tpu": "no TPU is used",
    "enable_serialization_as_tensor_content": _NO_GRPC,
}
_SWITCHES = {
    "allow_version_labels_for_unavailable_models",
    "enable_batching",
    "enable_grpc_healthcheck_service",
    "enable_model_warmup",
    "enable_per_model_batching_parameters",
    "enable_profiler",
    "enable_serialization_as_tensor_content",
    "enable_signature_method_name_check",
    "flush_filesystem_caches",
    "prefer_tflite_model",
    "remove_unused_fields_from_bundle_metagraph",
    "skip_initialize_tpu",
    "use_alts_credentials",
    "xla_cpu_compilation_enabled",
    "xla_gpu_compilation_enabled",
}

#: All flags: those that set something first.
FLAGS = (
    *_SETTING,
    *(
        Flag(name, Switch() if name in _SWITCHES else _Anything(), reason)
        for name, reason in _IGNORED.items()
    ),
)
FLAG_NAMED: Mapping[str, Flag] = {flag.name: flag for flag in FLAGS}

#: The note on --port beside --rest_api_port.
PORT_NOTE = f"--port={{}} is ignored: {_NO_GRPC}"
#: The note on flags beside --model_config_file.
CONFIG_NOTE = "{} ({}) is ignored: model_config_file lists the models"
