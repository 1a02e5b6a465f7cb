"""`tensorferry loadtest` over real sockets, on servers whose times are known."""

import json
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import certified
from tests.integration.servers import TENSORFERRY, Server, environment, run_program, wait_for
from tests.integration.timed_server import TimedServer, plain, timed_server

pytestmark = pytest.mark.full

LOADTEST = (*TENSORFERRY, "loadtest")

SMALL = ("--body", "body.bin")


@pytest.fixture(autouse=True)
def small_body(tmp_path: Path) -> None:
    """Write a small body, which is cheap to send."""
    (tmp_path / "body.bin").write_bytes(bytes(1024))


def loadtest(
    folder: Path, *options: str, code: int = 0, variables: Mapping[str, str] | None = None
) -> tuple[dict[str, Any], str]:
    """Return the figures of a load test and what it prints; it has to end with *code*."""
    command = [*LOADTEST, *options, "--json", "figures.json"]
    ran = run_program(command, cache_home=folder, folder=folder, variables=variables)
    assert ran.returncode == code, ran.stderr
    assert "Traceback" not in ran.stderr
    figures: dict[str, Any] = json.loads((folder / "figures.json").read_text())
    return figures, ran.stdout


def test_a_stall_of_one_second_shows(tmp_path: Path) -> None:
    """The latency of requests due during the stall includes the wait; none was sent late."""
    with timed_server(TimedServer(stall_at=50, stall=1.0)) as server:
        figures, _ = loadtest(
            tmp_path, f"127.0.0.1:{server.port}", *SMALL,
            "--rate", "100", "--arrivals", "constant", "--duration", "3s",
        )  # fmt: skip
    assert figures["sent"] == figures["answered"] == server.requests == 300
    assert figures["max_ms"] >= 990
    assert figures["p99_ms"] >= 900
    # About 100 of the 300 were due during the stall, half of them in its first half.
    assert 0.75 < figures["goodput"] / 100 < 0.88
    assert figures["p50_ms"] < 250


def test_five_milliseconds_are_reported_as_five(tmp_path: Path) -> None:
    """Never as less; a busy machine only adds, and rarely half of it in each of five tries."""
    for _ in range(5):
        with timed_server(TimedServer(delay=0.005)) as server:
            figures, _ = loadtest(
                tmp_path, f"127.0.0.1:{server.port}", *SMALL,
                "--rate", "100", "--arrivals", "constant", "--duration", "600ms",
            )  # fmt: skip
        assert figures["p50_ms"] >= 4.9
        if figures["p50_ms"] <= 7.5:
            return
    raise AssertionError(f"p50 of a server that takes 5 ms: {figures['p50_ms']} ms")


def test_images_are_generated(tmp_path: Path, server: Server) -> None:
    """As the field of a form; the server decodes them."""
    options = ("--rate", "20", "--duration", "1s", "--form", "data", "--image-size", "224x224")
    figures, _ = loadtest(tmp_path, f"127.0.0.1:{server.port}", *options)
    assert figures["answered"] == figures["sent"] > 0


def test_refusals_and_errors_are_counted_apart(tmp_path: Path) -> None:
    """Statuses, the first body of each, a broken connection; none of these counts as an answer."""
    answers = {
        1: plain(b"too busy", "429 Too Many Requests"),
        2: plain(b"what is [bold]this", "400 Bad Request"),
        3: b"no HTTP at all\r\n\r\n",
    }
    with timed_server(TimedServer(answer=lambda n: answers.get(n % 4, plain()))) as server:
        figures, shown = loadtest(
            tmp_path, f"127.0.0.1:{server.port}", *SMALL,
            "--rate", "40", "--arrivals", "constant", "--duration", "1s",
        )  # fmt: skip
    counts = {name: figures[name] for name in ("sent", "answered", "refused", "errors", "statuses")}
    assert counts == {
        "sent": 40,
        "answered": 10,
        "refused": 10,
        "errors": 20,
        "statuses": {"200": 10, "400": 10, "429": 10},
    }
    assert figures["max_ms"] is None  # ten had no answer
    assert "what is [bold]this" in shown
    assert "too busy" in shown
    assert "not HTTP" in shown


def test_an_unreachable_server_is_an_error_of_one_line(tmp_path: Path) -> None:
    """Before anything is sent, with exit code 1."""
    with timed_server(TimedServer()) as gone:
        port = gone.port
    ran = run_program([*LOADTEST, f"127.0.0.1:{port}"], cache_home=tmp_path, folder=tmp_path)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr == f"Error: cannot connect to 127.0.0.1 port {port}: Connection refused\n"


def test_a_server_that_never_answers_is_given_up(tmp_path: Path) -> None:
    """Each request at its timeout, and nothing was answered: exit code 1."""
    with timed_server(TimedServer(delay=60)) as server:
        figures, _ = loadtest(
            tmp_path, f"127.0.0.1:{server.port}", *SMALL,
            "--clients", "3", "--duration", "1s", "--timeout", "300ms", code=1,
        )  # fmt: skip
    assert figures["errors"] == figures["sent"] >= 3
    assert list(figures["error_kinds"]) == ["no answer within 0.3 s"]
    assert figures["p50_ms"] is None


def test_two_servers_are_compared_in_turn(tmp_path: Path) -> None:
    """One that takes ten times as long gets a tenth of the rate from a client that waits."""
    with (
        timed_server(TimedServer(delay=0.05)) as slow,
        timed_server(TimedServer(delay=0.005)) as fast,
    ):
        figures, shown = loadtest(
            tmp_path, "--compare", f"127.0.0.1:{slow.port}", f"127.0.0.1:{fast.port}", *SMALL,
            "--clients", "2", "--duration", "500ms", "--rounds", "3",
        )  # fmt: skip
    assert figures["ratios"]["p50_ms"]["median"] > 5
    assert figures["ratios"]["rate"]["median"] < 0.2
    assert [len(figures[which]["rounds"]) for which in "ab"] == [3, 3]
    assert "first / second" in shown


def test_the_rate_that_keeps_an_slo_is_found(tmp_path: Path) -> None:
    """A server that answers at most 20 requests/s keeps 200 ms at a somewhat lower rate."""
    with timed_server(TimedServer(delay=0.05)) as server:
        figures, shown = loadtest(
            tmp_path, f"127.0.0.1:{server.port}", *SMALL, "--find-slo", "200ms",
            "--arrivals", "constant", "--duration", "500ms", "--connections", "1",
            "--png", "curve.png",
        )  # fmt: skip
    assert 10 < figures["rate"] < 40
    rates = [point["asked"] for point in figures["curve"]]
    assert rates == sorted(rates)
    assert "99 in 100 are answered within 200 ms at up to" in shown
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


def interrupted(
    folder: Path, server: TimedServer, requests: int, *options: str
) -> "subprocess.CompletedProcess[str]":
    """Return a load test of ten minutes that got a SIGINT once *server* had so many requests."""
    command = [*LOADTEST, f"127.0.0.1:{server.port}", *SMALL, "--duration", "10m", *options]
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_for(lambda: server.requests >= requests, "requests")
        process.send_signal(signal.SIGINT)
        printed, errors = process.communicate(timeout=20)
    finally:
        process.kill()
    return subprocess.CompletedProcess(command, process.returncode, printed, errors)


def test_an_interrupt_reports_what_was_measured(tmp_path: Path) -> None:
    """The first SIGINT ends the sending; the figures are of the requests until then."""
    with timed_server(TimedServer()) as server:
        ran = interrupted(tmp_path, server, 21, "--rate", "50", "--json", "-")
    figures = json.loads(ran.stdout)
    assert figures["answered"] == figures["sent"] == server.requests
    assert figures["offered"] == pytest.approx(50, rel=0.5)
    assert ran.returncode == 0


def test_a_file_that_cannot_be_written_is_an_error_after_the_report(tmp_path: Path) -> None:
    """In one line; what was measured is not lost."""
    with timed_server(TimedServer()) as server:
        options = (*SMALL, "--duration", "100ms", "--json", "/dev/full")
        command = [*LOADTEST, f"127.0.0.1:{server.port}", *options]
        ran = run_program(command, cache_home=tmp_path, folder=tmp_path)
    assert ran.returncode == 1
    assert ran.stderr == "Error: cannot write /dev/full: No space left on device\n"
    assert "latency " in ran.stdout


def test_an_interrupt_does_not_wait_for_a_silent_server(tmp_path: Path) -> None:
    """It waits 2 seconds, and then reports that it has no figures."""
    with timed_server(TimedServer(delay=60)) as server:
        ran = interrupted(tmp_path, server, 1, "--clients", "1")
    assert ran.returncode == 1
    assert ran.stderr.split("\n")[1:] == [
        "interrupted: waiting 2 s for answers; a second Ctrl-C stops the load test at once",
        "Error: interrupted before there was anything to report",
        "",
    ]


def test_a_server_behind_tls_is_measured(tmp_path: Path) -> None:
    """With a certificate that the system trusts; one that it does not is an error in words."""
    context = certified(tmp_path)
    with timed_server(TimedServer(), context) as server:
        url = f"https://localhost:{server.port}"
        options = (url, *SMALL, "--clients", "2", "--duration", "500ms")
        trusted = {"SSL_CERT_FILE": str(tmp_path / "certificate.pem")}
        figures, _ = loadtest(tmp_path, *options, variables=trusted)
        assert figures["answered"] == figures["sent"] > 0
        figures, shown = loadtest(tmp_path, *options, code=1)
    assert figures["answered"] == 0
    assert "certificate" in shown
