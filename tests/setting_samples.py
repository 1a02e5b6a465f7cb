"""Good and bad values of each setting, as texts and as TOML, for the tests of all sources."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from pathlib import Path

from server.settings.option import Option
from server.settings.table import OPTION_NAMED


@dataclass(frozen=True, slots=True)
class Sample:
    """Values of one setting, in a folder with the files of `write_sample_files`."""

    text: str  #: on a command line or in the environment; for a list, one item
    toml: str  #: the same value in a file
    value: object  #: the same value in Settings; a path is relative
    bad: tuple[str, ...]  #: texts that must be refused
    bad_toml: tuple[str, ...]  #: values in a file that must be refused


_BAD_TENSORS = (("a b", ":0", "a:", "a:x", "^a"), ('"a b"', "3", '["a"]'))
_BAD_COUNTS = (("0", "-1", "1.5", "many", "1e3"), ("0", '"8"', "1.0", "true"))
_BAD_AUTO = (("0", "Auto", "1.5"), ("0", '"many"', "false"))
_BAD_SIZES = (("0", "-1", "1.5", "0.5B", "1XiB", "1iB", "MiB"), ("0", "1.5", "true", '"a lot"'))
_BAD_FILES = (("missing", ".", "nul\0"), ('"missing"', "1", '"."'))
_BAD_POSITIVE = (("0", "-1", "nan", "inf", "1e999", "1e99999999999999999999", "wide"), ("0", '"1"'))
_BAD_DELAYS = (("-1", "nan", "inf", "5ms"), ("-0.5", '"1"', "nan", "inf"))

SAMPLES = {
    "listen": Sample(
        "unix:/run/a\\:b.sock",
        '["unix:/run/a\\\\:b.sock"]',
        ("unix:/run/a\\:b.sock",),
        ("8080", "tcp", "tcp:", ":80", "127.0.0.1:80"),
        ("[]", "8080", '["tcp:80", 81]', '[["tcp:80"]]'),
    ),
    "port": Sample("0", "0", 0, ("-1", "65536", "http", "tcp:80"), ("-1", "65536", '"80"', "80.0")),
    "cors_origins": Sample(
        "https://example.org:8443",
        '["https://example.org:8443"]',
        ("https://example.org:8443",),
        ("example.org", "https://", "https://example.org/", "https://a:b", "null", "**"),
        ("[]", "1", '["*", 1]', '[["*"]]'),
    ),
    "tls_cert": Sample("token", '"token"', Path("token"), *_BAD_FILES),
    "tls_key": Sample("token", '"token"', Path("token"), *_BAD_FILES),
    "graph": Sample("graph.pb", '"graph.pb"', Path("graph.pb"), *_BAD_FILES),
    "model": Sample(
        "served", '"served"', Path("served"), ("missing", "nul\0"), ('"missing"', "1", "true")
    ),
    "models": Sample(
        "served", '"served"', Path("served"), ("missing", "graph.pb", "nul\0"), ('"missing"', "1")
    ),
    "model_base_path": Sample(
        "served", '"served"', Path("served"), ("missing", "graph.pb", "nul\0"), ('"missing"', "1")
    ),
    "model_name": Sample(
        "my-model_1.0", '"my-model_1.0"', "my-model_1.0", ("a b", "a/b", ".."), ('""', "1")
    ),
    "model_config_file": Sample(
        "models.config",
        '"models.config"',
        Path("models.config"),
        ("missing", ".", "wrong.config"),
        ('"missing"', "1", '"wrong.config"'),
    ),
    "labels": Sample("labels.txt", '"labels.txt"', Path("labels.txt"), *_BAD_FILES),
    "signature": Sample(
        "serving_default",
        '"serving_default"',
        "serving_default",
        ("a b", "a\t", "a\0b"),
        ('""', '"a b"', "1", '["a"]'),
    ),
    "input_layer": Sample("in/put", '"in/put"', "in/put:0", *_BAD_TENSORS),
    "output_layer": Sample("softmax:1", '"softmax:1"', "softmax:1", *_BAD_TENSORS),
    "feed": Sample(
        "keep_prob=1.0",
        '["keep_prob=1.0"]',
        (("keep_prob", 1.0),),
        ("keep_prob", "=1", "a,b=1", "x=nan", "x=", "x=maybe"),
        ("1.0", '["keep_prob"]', "[1.0]"),
    ),
    "num_top_predictions": Sample("3", "3", 3, *_BAD_COUNTS),
    "input_height": Sample("299", "299", 299, *_BAD_COUNTS),
    "input_width": Sample("224", "224", 224, *_BAD_COUNTS),
    "input_mean": Sample("-12.5", "-12.5", -12.5, ("nan", "inf", "grey"), ("nan", '"1"', "true")),
    "input_std": Sample("1e2", "100", 100.0, *_BAD_POSITIVE),
    "device": Sample("gpu", '"gpu"', "gpu", ("GPU", "tpu", "0"), ('"tpu"', "0", "true")),
    "lanes": Sample("4", "4", 4, *_BAD_AUTO),
    "gpu_memory_limit": Sample("1.5GiB", '"1.5GiB"', 1536 * 2**20, *_BAD_SIZES),
    "max_batch_size": Sample("32", "32", 32, *_BAD_COUNTS),
    "max_queue_delay_ms": Sample("2.5", "2.5", 0.0025, *_BAD_DELAYS),
    "default_timeout": Sample(
        "2.5", "2.5", 2.5, (*_BAD_POSITIVE[0], "None"), ("0", "true", "nan", '"soon"')
    ),
    "run_timeout": Sample(
        "none", '"none"', inf, (*_BAD_POSITIVE[0], "None"), ("0", "true", "nan", '"soon"')
    ),
    "max_queue_bytes": Sample("2gb", '"2gb"', 2 * 10**9, *_BAD_SIZES),
    "max_body_bytes": Sample("1_000", "1_000", 1000, *_BAD_SIZES),
    "max_pixels": Sample("1_000_000", "1_000_000", 10**6, *_BAD_COUNTS),
    "decode_threads": Sample("2", "2", 2, *_BAD_AUTO),
    "client_timeout": Sample("0.5", "0.5", 0.5, *_BAD_POSITIVE),
    "front_end": Sample("klein", '"klein"', "klein", ("Klein", "fast"), ('"fast"', "1", "true")),
    "max_request_line_bytes": Sample("8KiB", '"8KiB"', 8192, *_BAD_SIZES),
    "max_header_bytes": Sample("64KiB", '"64KiB"', 65536, *_BAD_SIZES),
    "max_header_fields": Sample("100", "100", 100, *_BAD_COUNTS),
    "header_timeout": Sample("10", "10", 10.0, *_BAD_POSITIVE),
    "keep_alive_timeout": Sample("620", "620", 620.0, *_BAD_POSITIVE),
    "max_connections": Sample("4096", "4096", 4096, *_BAD_AUTO),
    "max_requests_in_flight": Sample("500", "500", 500, *_BAD_COUNTS),
    "max_connection_requests": Sample("none", '"none"', inf, *_BAD_AUTO),
    "max_connection_age": Sample(
        "600", "600", 600.0, (*_BAD_POSITIVE[0], "None"), ("0", "true", "nan", '"old"')
    ),
    "admin_token_file": Sample("token", '"token"', Path("token"), *_BAD_FILES),
    "workers": Sample("2", "2", 2, *_BAD_COUNTS),
    "announce": Sample(
        "zk://a:2181,[::1]:2182/x?lease=5",
        '"zk://a:2181,[::1]:2182/x?lease=5"',
        "zk://a:2181,[::1]:2182/x?lease=5",
        ("localhost:2181", "zk:/a", "srv://a", "zk://a:0", "zk://a?lease=0", "etcd://a?b=1"),
        ('"http://a"', "2181", '["zk://a"]'),
    ),
    "announce_host": Sample("gpu-1", '"gpu-1"', "gpu-1", ("a b", "http://a"), ("1", '["a"]')),
    "announce_token_file": Sample("token", '"token"', Path("token"), *_BAD_FILES),
    "admin_listen": Sample(
        "unix:/run/admin.sock",
        '"unix:/run/admin.sock"',
        "unix:/run/admin.sock",
        ("admin", "8080", ":80"),
        ("[]", "8080"),
    ),
    "poll_interval": Sample(
        "once", '"once"', inf, (*_BAD_POSITIVE[0], "never"), ("0", "true", "nan", '"soon"')
    ),
    "drain_delay": Sample("5", "5", 5.0, *_BAD_DELAYS),
    "access_log": Sample("On", "true", True, ("maybe", "2"), ('"true"', "1")),
    "log_format": Sample("json", '"json"', "json", ("JSON", "text"), ('"text"', "1", "true")),
    "slow_request_ms": Sample("250.5", "250.5", 0.2505, *_BAD_DELAYS),
}


def write_sample_files(folder: Path) -> None:
    """Write the files and the folder that the samples name."""
    folder.joinpath("served").mkdir(exist_ok=True)
    for name in ("graph.pb", "labels.txt", "token", "cert.pem", "key.pem"):
        folder.joinpath(name).write_bytes(b"x")
    folder.joinpath("models.config").write_text("model_config_list {}")
    folder.joinpath("wrong.config").write_text("model_config_list {")


def with_needed(name: str) -> Iterator[Option[object]]:
    """Yield the option called *name*, and the options that it needs."""
    names = [name]
    for needing in names:  # grows during the loop
        needed = OPTION_NAMED[needing].needs
        if needed and not {*needed} & {*names}:
            names.append(needed[0])
    return (OPTION_NAMED[each] for each in names)
