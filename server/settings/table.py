"""
The settings of the server, in one table.

The options of the command line, the keys of the TOML file, the ``TENSORFERRY_*`` variables and
docs/options.md are made from the fields of `Settings`, with those of `HTTPSettings`; to add a
setting, add a field.  Values are seconds, bytes, rows and pixels; None means that the server
chooses the value.  Pure, and imports no TensorFlow, Klein or reactor, so that ``--help`` is
instant.
"""

# ruff: noqa: RUF009 - `setting` returns a dataclass field, not a shared default

from collections.abc import Mapping
from dataclasses import dataclass, fields
from math import inf
from pathlib import Path
from typing import Any, Literal, TypeAlias

from server.settings import groups
from server.settings.http_settings import HTTPSettings
from server.settings.kinds import (
    Choice,
    FedValue,
    Name,
    Number,
    OrWord,
    Size,
    Switch,
    TensorName,
    WholeNumber,
)
from server.settings.model_kinds import ModelConfigPath, ModelName
from server.settings.option import Option, setting, several
from server.settings.place_kinds import (
    Endpoint,
    EndpointOrPath,
    HostName,
    Origin,
    ReadableFile,
    ReadableFolder,
    RegistryURL,
)

Device: TypeAlias = Literal["cpu", "gpu"]
DEVICES: Choice[Device] = Choice(("cpu", "gpu"))
LogFormat: TypeAlias = Literal["plain", "json"]
LOG_FORMATS: Choice[LogFormat] = Choice(("plain", "json"))

#: Labels in an answer if neither the settings nor model.toml set a number.
DEFAULT_TOP_PREDICTIONS = 5
#: The name of the model of `model_base_path`.
DEFAULT_MODEL_NAME = "default"
_OWN_MODEL = ("graph", "model")
#: The options that name a repository.
REPOSITORIES = ("models", "model_base_path", "model_config_file")

DEFAULT_ENDPOINT = "tcp:12480:interface=127.0.0.1"
FREE_ENDPOINT = "tcp:0:interface=127.0.0.1"


@dataclass(frozen=True, slots=True)
class Settings(HTTPSettings):
    """
    The settings of one server.

    `server.settings.sources.resolve` makes and checks them; the constructor checks nothing.
    """

    listen: tuple[str, ...] = several(
        Endpoint(),
        groups.LISTENING,
        "A Twisted server endpoint to listen on; repeat it to listen on several.",
        default=(),
        unset=f"none, it is {DEFAULT_ENDPOINT}; with --announce a free port",
    )
    port: int | None = setting(
        WholeNumber("PORT", at_least=0, at_most=65535),
        groups.LISTENING,
        "The same as --listen tcp:PORT:interface=127.0.0.1; only without --listen. "
        "0 takes any free port.",
        unset="none",
        excludes=("listen",),
    )
    cors_origins: tuple[str, ...] = several(
        Origin(),
        groups.LISTENING,
        "An origin whose pages may read the answers in a browser (CORS), such as "
        "https://example.org, or * for all; repeat it for several.",
        default=(),
        unset="none, answers have no CORS headers",
    )
    graph: Path | None = setting(
        # Users give a folder here when they mean --model.
        ReadableFile(
            stands_for_folder="saved_model.pb",
            folder_advice="a folder; for a SavedModel, or a folder with a model in it, use --model",
        ),
        groups.MODEL,
        "A frozen TensorFlow graph to serve.",
        unset="none, the default model is served",
        excludes=("models",),
    )
    model: Path | None = setting(
        ReadableFile(or_folder=True),
        groups.MODEL,
        "A model to serve: a frozen graph, a SavedModel folder, a .keras or .h5 file, or a folder "
        "with one of these and a model.toml.",
        unset="none",
        excludes=("graph",),
    )
    models: Path | None = setting(
        ReadableFolder(),
        groups.MODEL,
        "A repository of models to serve: FOLDER/NAME/VERSION for each version, which is a whole "
        "number.",
        unset="none",
        excludes=("model",),
    )
    model_base_path: Path | None = setting(
        ReadableFolder(),
        groups.MODEL,
        "The folder of one model to serve: FOLDER/VERSION for each version.",
        unset="none",
        excludes=("graph", "model", "models"),
    )
    model_name: str | None = setting(
        ModelName(),
        groups.MODEL,
        "The name of the model of --model-base-path, for requests that name it.",
        unset=f"the name {DEFAULT_MODEL_NAME}",
        needs=("model_base_path",),
    )
    model_config_file: Path | None = setting(
        ModelConfigPath(),
        groups.MODEL,
        "A model config file of TensorFlow Serving, which lists models with their base paths.",
        unset="none",
        excludes=("graph", "model", "models"),
    )
    labels: Path | None = setting(
        ReadableFile(),
        groups.MODEL,
        "The file with the labels of the model's classes, one a line, in the order of its output.",
        unset="from model.toml, else none",
        needs=_OWN_MODEL,
    )
    signature: str | None = setting(
        Name(),
        groups.MODEL,
        "The signature for images and for requests that name no signature.",
        unset="from model.toml, else serving_default",
        needs=("model",),
    )
    input_layer: str | None = setting(
        TensorName(),
        groups.MODEL,
        "The tensor that takes images: NAME, or NAME:INDEX.",
        unset="from model.toml, else found in the model",
        needs=_OWN_MODEL,
    )
    output_layer: str | None = setting(
        TensorName(),
        groups.MODEL,
        "The tensor that gives a score for each label.",
        unset="from model.toml, else final_result or the graph's only output",
        needs=_OWN_MODEL,
    )
    feed: tuple[tuple[str, bool | float], ...] = several(
        FedValue(),
        groups.MODEL,
        "A constant value for another placeholder of the model, the same in every run, such as "
        "keep_prob=1.0; repeat it for several.",
        default=(),
        unset="from model.toml, else none",
        needs=_OWN_MODEL,
    )
    num_top_predictions: int | None = setting(
        WholeNumber("N"),
        groups.MODEL,
        "The number of labels in an answer, best first.",
        unset=f"from model.toml, else {DEFAULT_TOP_PREDICTIONS}",
    )
    input_height: int | None = setting(
        WholeNumber("PIXELS"),
        groups.MODEL,
        "The height to which images are resized for the model.",
        unset="from model.toml, else from the model",
        needs=_OWN_MODEL,
    )
    input_width: int | None = setting(
        WholeNumber("PIXELS"),
        groups.MODEL,
        "The width to which images are resized for the model.",
        unset="from model.toml, else from the model",
        needs=_OWN_MODEL,
    )
    input_mean: float | None = setting(
        Number("NUMBER"),
        groups.MODEL,
        "The number subtracted from each colour value (0 to 255) before it is fed to the model.",
        unset="from model.toml, else 0",
        needs=_OWN_MODEL,
    )
    input_std: float | None = setting(
        Number("NUMBER", above=0),
        groups.MODEL,
        "The number by which each colour value is divided after --input-mean is subtracted.",
        unset="from model.toml, else 255",
        needs=_OWN_MODEL,
    )
    device: Device | None = setting(
        OrWord("auto", None, DEVICES),
        groups.DEVICE,
        "The device that runs the model; auto selects a GPU if there is one.",
        default=None,
    )
    lanes: int | None = setting(
        OrWord("auto", None, WholeNumber("N")),
        groups.DEVICE,
        "The number of threads that run the model; auto selects it by the device.",
        default=None,
    )
    gpu_memory_limit: int | None = setting(
        Size(),
        groups.DEVICE,
        "The most GPU memory that TensorFlow may allocate, in bytes.",
        unset="none, it grows on demand",
    )
    max_batch_size: int | None = setting(
        WholeNumber("ROWS"),
        groups.BATCHING,
        "The most rows in one run of the model.",
        unset="learned",
    )
    #: in seconds; the option is in milliseconds
    max_queue_delay: float | None = setting(
        Number("MS", at_least=0, shift=-3),
        groups.BATCHING,
        "How long a request may wait for others to share its batch, in milliseconds; with 0 it "
        "never waits.",
        unset="learned",
        name="max_queue_delay_ms",
    )
    default_timeout: float | None = setting(
        OrWord("none", inf, Number("SECONDS", above=0)),
        groups.LIMITS,
        "How long a request without X-Request-Timeout-Ms may take once it is received, in seconds; "
        "it is refused if it is expected to take longer. With none there is no limit.",
        unset="learned: 5 of the longest runs, at least 0.5",
    )
    run_timeout: float = setting(
        OrWord("none", inf, Number("SECONDS", above=0)),
        groups.LIMITS,
        "How long a run of the model may take, in seconds, or 10 times its expected time if that "
        "is longer; then its requests fail and the server reports itself as unhealthy. "
        "With none there is no limit.",
        default=30.0,
    )
    max_queue_bytes: int = setting(
        Size(),
        groups.LIMITS,
        "The most bytes of request bodies in memory, and the most bytes of rows in each queue.",
        default=256 * 2**20,
    )
    max_pixels: int = setting(
        WholeNumber("PIXELS"),
        groups.LIMITS,
        "The largest image, in pixels: its width times its height.",
        default=50_000_000,
    )
    decode_threads: int | None = setting(
        OrWord("auto", None, WholeNumber("N")),
        groups.LIMITS,
        "The number of threads that decode images; auto selects it by the processor.",
        default=None,
    )
    workers: int = setting(
        WholeNumber("N"),
        groups.WORKERS,
        "The number of processes that serve on the same port, each with its share of the GPUs, or "
        "of the cores.",
        default=1,
    )
    announce: str | None = setting(
        RegistryURL(),
        groups.WORKERS,
        "The registry where the server registers itself while it is ready; the port is then a free "
        "one unless it is set.",
        unset="none",
    )
    announce_host: str | None = setting(
        HostName(),
        groups.WORKERS,
        "The host name or address of this server in the registry.",
        unset="the address that it listens on, or from which it reaches the registry",
        needs=("announce",),
    )
    announce_token_file: Path | None = setting(
        ReadableFile(),
        groups.WORKERS,
        "A file with the token that registry:// asks for.",
        unset="none",
        needs=("announce",),
    )
    admin_token_file: Path | None = setting(
        ReadableFile(),
        groups.RUNNING,
        "A file with the token of the requests that change which models are served.",
        unset="none, no request may",
        needs=REPOSITORIES,
    )
    admin_listen: str | None = setting(
        EndpointOrPath(),
        groups.RUNNING,
        "The path of a unix socket, or a Twisted server endpoint, where requests may change which "
        "models are served, without a token.",
        unset="none",
        needs=REPOSITORIES,
    )
    poll_interval: float = setting(
        OrWord("once", inf, Number("SECONDS", above=0)),
        groups.RUNNING,
        "How often the folders of the models are read, in seconds; with once they are not read "
        "again when a model is ready.",
        default=2.1,
    )
    drain_delay: float | None = setting(
        Number("SECONDS", at_least=0),
        groups.RUNNING,
        "How long the server accepts new connections after a stop signal, in seconds.",
        unset="none, 0; with --announce 3",
    )
    access_log: bool = setting(
        Switch(),
        groups.RUNNING,
        "Log a line for each request.",
        default=False,
    )
    log_format: LogFormat = setting(
        LOG_FORMATS,
        groups.RUNNING,
        "How a line of the log is written: as text, or as a JSON object.",
        default="plain",
    )
    #: in seconds; the option is in milliseconds
    slow_request: float = setting(
        Number("MS", at_least=0, shift=-3),
        groups.RUNNING,
        "Log where the time went of a request for inference that takes longer, in milliseconds; "
        "with 0 none is logged.",
        default=0.0,
        name="slow_request_ms",
    )

    @property
    def endpoints(self) -> tuple[str, ...]:
        """The Twisted server endpoint strings to listen on, from *port* or *listen*."""
        if self.port is not None:
            return (f"tcp:{self.port}:interface=127.0.0.1",)
        default = DEFAULT_ENDPOINT if self.announce is None else FREE_ENDPOINT
        return self.listen or (default,)


#: The settings, in the order of the groups, and of the table in each of them.
# Any: each option has its own type; `setting` ties each kind to the type of its field.
OPTIONS: tuple[Option[Any], ...] = tuple(
    sorted(
        (Option(field=f.name, **{"name": f.name, **f.metadata}) for f in fields(Settings)),
        key=lambda option: groups.GROUPS.index(option.group),
    )
)
OPTION_NAMED: Mapping[str, Option[Any]] = {option.name: option for option in OPTIONS}

#: Names the TOML file; only on the command line and in the environment.
CONFIG = Option(
    name="config",
    kind=ReadableFile(),
    group=groups.CONFIGURATION,
    meaning="A TOML file to read settings from.",
    default="none",
)
#: Only on the command line; not a setting.
CHECK_CONFIG = Option(
    name="check_config",
    kind=Switch(),
    group=groups.CONFIGURATION,
    meaning="Check the settings, print each with its origin, and exit.",
    default="",
)
