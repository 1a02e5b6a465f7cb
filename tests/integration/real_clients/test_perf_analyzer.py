"""perf_analyzer, Triton's load test: it measures our server, and reads our statistics."""

import os
import platform
import re
import subprocess
from pathlib import Path

import pytest

from tests.integration.real_clients.environments import PERF, EnvironmentAt
from tests.integration.repositories import Repository

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(platform.machine() != "x86_64", reason="perf_analyzer is for x86_64"),
]


JSON = ("--input-tensor-format", "json", "--output-tensor-format", "json")


@pytest.mark.parametrize(
    "options",
    [("-m", "adder", "-x", "1"), ("-m", "photos"), ("-m", "iris", *JSON)],
    ids=["a version", "pixels", "JSON"],
)
def test_perf_analyzer_reports_the_server(
    served: Repository, environment_at: EnvironmentAt, tmp_path: Path, options: tuple[str, ...]
) -> None:
    """The throughput, and the times in the server's queue and runs."""
    folder = environment_at(PERF)
    command = [
        str(folder / "bin" / "perf_analyzer"),
        *("-u", f"127.0.0.1:{served.server.port}"),
        *("--concurrency-range", "2", "--measurement-interval", "1000", "--max-trials", "3"),
        *("--stability-percentage", "999", "-v", *options),
    ]
    ran = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120,
        env={**os.environ, "LD_LIBRARY_PATH": str(folder / "libraries")},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    (rate,) = re.findall(r"Throughput: ([\d.]+) infer/sec", ran.stdout.partition("Client:")[2])[:1]
    assert float(rate) > 1, ran.stdout
    for name in ("Inference count", "Execution count", "Successful request count"):
        (count,) = re.findall(rf"{name}: (\d+)", ran.stdout)[:1]
        assert int(count) > 0, ran.stdout
    (times,) = re.findall(
        r"queue (\d+) usec \+ compute input (\d+) usec \+ compute infer (\d+) usec", ran.stdout
    )
    assert int(times[2]) > 0, ran.stdout
