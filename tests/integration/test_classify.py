"""`tensorferry classify`: images labelled from the command line."""

import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import pytest

from tests.integration.clients import post
from tests.integration.graphs import Graphs, image_input
from tests.integration.photos import KNOWN, jpeg, mixed
from tests.integration.servers import START, TENSORFERRY, Server, environment, run_program

pytestmark = pytest.mark.full

CLASSIFY = (*TENSORFERRY, "classify")


@pytest.fixture
def photos(tmp_path: Path) -> list[str]:
    """The names of files that hold the known photos, in the folder where the tests work."""
    for name in KNOWN:
        (tmp_path / f"{name}.jpg").write_bytes(jpeg(name))
    return [f"{name}.jpg" for name in KNOWN]


def answers_in(stdout: str) -> list[tuple[str, list[tuple[str, float]]]]:
    """Return the files named in *stdout*, each with its labels and scores."""
    answers: list[tuple[str, list[tuple[str, float]]]] = []
    for line in stdout.splitlines():
        scored = re.fullmatch(r"(.+) \(score = (\d\.\d{5})\)", line)
        if scored:
            answers[-1][1].append((scored[1], float(scored[2])))
        else:
            assert line.endswith(":")
            answers.append((line[:-1], []))
    return answers


def test_one_image_is_labelled_as_label_image_does(
    cache_home: Path, tmp_path: Path, photos: list[str], server: Server
) -> None:
    """Each line has a label and its score, and nothing else; the scores are those of the server."""
    command = [*CLASSIFY, "--image", photos[0]]
    result = run_program(command, cache_home=cache_home, folder=tmp_path)
    assert result.returncode == 0
    ((_, labels),) = answers_in(f":\n{result.stdout}")
    served = post(server.port, jpeg("chelsea.png")).labels
    assert [label for label, _ in labels] == [label for label, _ in served]
    assert [score for _, score in labels] == pytest.approx([s for _, s in served], abs=1e-4)


def test_names_on_stdin_share_a_batch(cache_home: Path, tmp_path: Path) -> None:
    """With a batch delay of ten minutes, 32 images fill one batch; another name is no file."""
    names = []
    for number, (_, file) in enumerate(mixed(32)):
        names.append(f"{number}.jpg")
        (tmp_path / names[-1]).write_bytes(file)
    command = [*CLASSIFY, "--max-batch-size=32", "--max-queue-delay-ms=600000"]
    result = run_program(
        [*command, "--num_top_predictions", "2"], cache_home=cache_home, folder=tmp_path,
        stdin="\n".join(["absent.jpg", *names]),
    )  # fmt: skip
    assert result.returncode == 1
    assert "absent.jpg: No such file or directory" in result.stderr
    answers = answers_in(result.stdout)
    assert [name for name, _ in answers] == names
    for (photo, _), (_, labels) in zip(mixed(32), answers, strict=True):
        assert len(labels) == 2
        assert labels[0][0] in KNOWN[photo]


@contextmanager
def classify_names(cache_home: Path, folder: Path) -> Iterator["subprocess.Popen[str]"]:
    """Run the command on names that are written to its stdin, for two minutes at most."""
    with subprocess.Popen(
        CLASSIFY,
        cwd=folder,
        env=environment(cache_home),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="surrogateescape",
    ) as process:
        deadline = threading.Timer(START, process.kill)
        deadline.start()
        try:
            yield process
        finally:
            deadline.cancel()
            process.kill()


def test_each_name_on_stdin_is_answered_before_the_next_one_comes(
    cache_home: Path, tmp_path: Path, photos: list[str]
) -> None:
    """A file that is no image gets a line on stderr; a reader that closes its pipe ends it."""
    (tmp_path / "text.txt").write_text("no image")
    with classify_names(cache_home, tmp_path) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None

        def send(name: str) -> None:
            assert process.stdin is not None
            process.stdin.write(f"{name}\n")
            process.stdin.flush()

        for name in [*photos[:2], "text.txt", "absent.jpg", "\udcff\udcfe.jpg", *photos[2:]]:
            send(name)
            if name not in photos:
                lines = iter(process.stderr.readline, "")
                line = next(line for line in lines if ".jpg: " in line or ".txt: " in line)
                assert re.search("is not a JPEG, PNG, .* image$|No such file or dir.*$", line)
                continue
            ((answered, labels),) = answers_in("".join(islice(process.stdout, 6)))
            assert answered == name
            assert labels[0][0] in KNOWN[name.removesuffix(".jpg")]
        process.stdout.close()
        send(photos[0])
        assert process.wait(30) == 1
        errors = process.stderr.read()
        assert "Traceback" not in errors
        assert "shutting down" not in errors


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (
            ("--graph", "two.txt", "--labels", "two.txt"),
            "two.txt: a file of text, not a frozen gra",
        ),
        (("--model", "graph.pb"), "default/1 has no labels: name a file with --labels"),
    ],
)
def test_a_model_that_labels_no_image_ends_it(
    tmp_path: Path, options: tuple[str, ...], reason: str
) -> None:
    """With one line and exit code 1, although the decode threads have started."""
    Graphs(tmp_path).write(image_input())
    (tmp_path / "two.txt").write_text("a\nb\n")
    command = [*CLASSIFY, *options, "--image", "x.jpg"]
    result = run_program(command, cache_home=tmp_path, folder=tmp_path)
    assert (result.returncode, result.stdout) == (1, "")
    assert reason in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr


def test_a_signal_ends_it_while_it_waits_for_a_name(cache_home: Path, tmp_path: Path) -> None:
    """Without a message, and with exit code 1: names may be unanswered."""
    with subprocess.Popen(
        CLASSIFY, env=environment(cache_home), cwd=tmp_path,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(b"nothing.jpg\n")
        process.stdin.flush()
        heard = next(line for line in process.stderr if line.startswith(b"nothing.jpg: "))
        assert heard == b"nothing.jpg: No such file or directory\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(START) == 1
        assert process.stderr.read() == b""
