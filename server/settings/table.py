"""
The settings of the server: one table, from which everything that names a setting is made.

A field of `Settings` carries what click's options, twistd's, the TOML file, the ``TENSORFERRY_*``
variables and docs/options.md need to know of it; to add a setting is to add a field.  Values are
seconds, bytes, rows and pixels; None stands for what the server finds out by itself.  Pure, and
imports no TensorFlow, Klein or reactor, so that ``--help`` is instant.
"""

# ruff: noqa: RUF009 - `setting` returns a dataclass field, which is no shared default

from collections.abc import Mapping
from dataclasses import dataclass, fields
from math import inf
from pathlib import Path
from typing import Any, Literal, TypeAlias

from server.settings.kinds import (
    Choice,
    Endpoint,
    FedValue,
    Name,
    Number,
    OrWord,
    ReadableFile,
    Size,
    Switch,
    TensorName,
    WholeNumber,
)
from server.settings.option import Option, setting, several

Device: TypeAlias = Literal["cpu", "gpu"]
DEVICES: Choice[Device] = Choice(("cpu", "gpu"))

LISTENING = "Where to listen"
MODEL = "The model"
DEVICE = "The device"
BATCHING = "Batching"
LIMITS = "Limits"
RUNNING = "Running"
CONFIGURATION = "Configuration"
GROUPS = (LISTENING, MODEL, DEVICE, BATCHING, LIMITS, RUNNING, CONFIGURATION)

#: Labels in an answer where neither the settings nor the model's own file say how many.
DEFAULT_TOP_PREDICTIONS = 5
_OWN_MODEL = ("graph", "model")

DEFAULT_ENDPOINT = "tcp:12480:interface=127.0.0.1"


@dataclass(frozen=True, slots=True)
class Settings:
    """
    What the server was told to do.

    `server.settings.sources.resolve` makes one and checks it; one made by hand is not checked.
    """

    listen: tuple[str, ...] = several(
        Endpoint(),
        LISTENING,
        "A Twisted server endpoint to listen at; repeat it to listen at several.",
        default=(DEFAULT_ENDPOINT,),
    )
    port: int | None = setting(
        WholeNumber("PORT", at_least=0, at_most=65535),
        LISTENING,
        "Short for --listen tcp:PORT:interface=127.0.0.1, and given instead of it. "
        "0 takes any free port.",
        unset="none",
        excludes="listen",
    )
    graph: Path | None = setting(
        # A folder is named in mistake for --model.
        ReadableFile(
            stands_for_folder="saved_model.pb",
            folder_advice="a folder; --model takes one, of a SavedModel or with a model in it",
        ),
        MODEL,
        "A frozen TensorFlow graph to serve.",
        unset="none, the default model is served",
    )
    model: Path | None = setting(
        ReadableFile(or_folder=True),
        MODEL,
        "A model to serve: a frozen graph, a SavedModel folder, a .keras or .h5 file, or a folder "
        "with one of these and a model.toml.",
        unset="none",
        excludes="graph",
    )
    labels: Path | None = setting(
        ReadableFile(),
        MODEL,
        "The labels of the model's classes, one a line, in the order of its output.",
        unset="from model.toml, else none",
        needs=_OWN_MODEL,
    )
    signature: str | None = setting(
        Name(),
        MODEL,
        "The signature that images use, and requests that name none.",
        unset="from model.toml, else serving_default",
        needs=("model",),
    )
    input_layer: str | None = setting(
        TensorName(),
        MODEL,
        "The tensor that takes images: NAME, or NAME:INDEX.",
        unset="from model.toml, else found in the model",
        needs=_OWN_MODEL,
    )
    output_layer: str | None = setting(
        TensorName(),
        MODEL,
        "The tensor that gives a score for each label.",
        unset="from model.toml, else final_result or the graph's only output",
        needs=_OWN_MODEL,
    )
    feed: tuple[tuple[str, bool | float], ...] = several(
        FedValue(),
        MODEL,
        "A value for another placeholder that the model needs, the same in every run, such as "
        "keep_prob=1.0; repeat it for several.",
        default=(),
        unset="from model.toml, else none",
        needs=_OWN_MODEL,
    )
    num_top_predictions: int | None = setting(
        WholeNumber("N"),
        MODEL,
        "How many labels an answer lists, best first.",
        unset=f"from model.toml, else {DEFAULT_TOP_PREDICTIONS}",
    )
    input_height: int | None = setting(
        WholeNumber("PIXELS"),
        MODEL,
        "The height to which images are resized for the model.",
        unset="from model.toml, else from the model",
        needs=_OWN_MODEL,
    )
    input_width: int | None = setting(
        WholeNumber("PIXELS"),
        MODEL,
        "The width to which images are resized for the model.",
        unset="from model.toml, else from the model",
        needs=_OWN_MODEL,
    )
    input_mean: float | None = setting(
        Number("NUMBER"),
        MODEL,
        "What is subtracted from each colour value, 0 to 255, before the model takes it.",
        unset="from model.toml, else 0",
        needs=_OWN_MODEL,
    )
    input_std: float | None = setting(
        Number("NUMBER", above=0),
        MODEL,
        "What the difference is then divided by.",
        unset="from model.toml, else 255",
        needs=_OWN_MODEL,
    )
    device: Device | None = setting(
        OrWord("auto", None, DEVICES),
        DEVICE,
        "Where the model runs; auto takes a GPU if there is one.",
        default=None,
    )
    lanes: int | None = setting(
        OrWord("auto", None, WholeNumber("N")),
        DEVICE,
        "How many threads run the model; auto fits the device.",
        default=None,
    )
    gpu_memory_limit: int | None = setting(
        Size(),
        DEVICE,
        "The most memory, in bytes, that TensorFlow may take on a GPU.",
        unset="none, it grows as needed",
    )
    max_batch_size: int | None = setting(
        WholeNumber("ROWS"),
        BATCHING,
        "The most rows that one run of the model may take.",
        unset="learned",
    )
    #: seconds, though people write milliseconds
    max_queue_delay: float | None = setting(
        Number("MS", at_least=0, shift=-3),
        BATCHING,
        "How many milliseconds a request may wait for others to share its batch; 0 never waits.",
        unset="learned",
        name="max_queue_delay_ms",
    )
    default_timeout: float | None = setting(
        OrWord("none", inf, Number("SECONDS", above=0)),
        LIMITS,
        "How many seconds a request may take that has no X-Request-Timeout-Ms, once it has come; "
        "if it would take longer, it is refused. With none it takes what it takes.",
        unset="learned: 5 of the longest runs, at least 0.5",
    )
    run_timeout: float = setting(
        OrWord("none", inf, Number("SECONDS", above=0)),
        LIMITS,
        "How many seconds a run of the model may take, or 10 times as long as expected if that is "
        "more, until its requests fail and the server calls itself unhealthy. With none it takes "
        "what it takes.",
        default=30.0,
    )
    max_queue_bytes: int = setting(
        Size(),
        LIMITS,
        "The most bytes of bodies that the server may hold, and of decoded images that may wait.",
        default=256 * 2**20,
    )
    max_body_bytes: int = setting(
        Size(),
        LIMITS,
        "The largest body of a request, in bytes.",
        default=64 * 2**20,
    )
    max_pixels: int = setting(
        WholeNumber("PIXELS"),
        LIMITS,
        "The largest image, as its width times its height.",
        default=50_000_000,
    )
    decode_threads: int | None = setting(
        OrWord("auto", None, WholeNumber("N")),
        LIMITS,
        "How many threads decode images; auto fits the processor.",
        default=None,
    )
    client_timeout: float = setting(
        Number("SECONDS", above=0),
        LIMITS,
        "How many seconds a client may take to send its request.",
        default=60.0,
    )
    drain_delay: float = setting(
        Number("SECONDS", at_least=0),
        RUNNING,
        "How many seconds new connections are still taken after the server was told to stop.",
        default=0.0,
    )
    access_log: bool = setting(
        Switch(),
        RUNNING,
        "Log a line for each request.",
        default=False,
    )

    @property
    def endpoints(self) -> tuple[str, ...]:
        """The Twisted server endpoint strings to listen at, however they were given."""
        if self.port is None:
            return self.listen
        return (f"tcp:{self.port}:interface=127.0.0.1",)


#: The settings, in the order of the table.
# Any: a table of many types; `setting` ties each kind to the type of its field.
OPTIONS: tuple[Option[Any], ...] = tuple(
    Option(field=f.name, **{"name": f.name, **f.metadata}) for f in fields(Settings)
)
OPTION_NAMED: Mapping[str, Option[Any]] = {option.name: option for option in OPTIONS}

#: Where more settings are read: on the command line and in the environment.
CONFIG = Option(
    name="config",
    kind=ReadableFile(),
    group=CONFIGURATION,
    meaning="A TOML file to read settings from.",
    default="none",
)
#: On the command line alone, and no setting: what to do instead of serving.
CHECK_CONFIG = Option(
    name="check_config",
    kind=Switch(),
    group=CONFIGURATION,
    meaning="Check the settings, print each with where it came from, and exit.",
    default="",
)
