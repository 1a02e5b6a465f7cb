"""
Change a repository while its server is loaded: good and bad versions, and a label.

Each step waits until the server states the outcome.  Times are seconds of the monotonic clock.
"""

import json
import shutil
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from benchmarks.repositories import NAME, POLL_SECONDS, place, report, states
from benchmarks.saved_mlp import write_golden
from benchmarks.served import PATIENCE
from benchmarks.swap_answers import Expected
from server.clock import MonotonicTime

LABEL = "stable"
BAD = ("broken", "slow", "golden", "short")  #: the versions after the swaps, in order
PIECES = 8  #: in which the largest file of the version that is copied slowly is written
PAUSE_SECONDS = 0.5  #: after each piece and each file of it
WAIT_SECONDS = 120.0  #: for the outcome of a step

#: The states of versions that the server neither loads nor unloads.
AT_REST = {"serving", "not served", "failed", "incomplete"}

#: What a step waits for: whether the report of the model has the outcome.
Outcome = Callable[[dict[str, Any]], bool]


def all_versions(swaps: int) -> range:
    """Return the versions: two at the start, one for each of *swaps*, one for each of `BAD`."""
    return range(1, swaps + 3 + len(BAD))


@dataclass(frozen=True, slots=True)
class Step:
    """A step that is done; times are seconds since the load began."""

    name: str
    began: float
    stated_at: float  #: when the server stated the outcome
    ended: float  #: when it loaded and unloaded nothing any more
    as_expected: bool  #: whether it was the expected one
    stated: str  #: the state of the version in the end, and its reason

    def as_json(self) -> dict[str, Any]:
        """Return the step as a row."""
        row = asdict(self)
        times = {key: round(row[key], 2) for key in ("began", "stated_at", "ended")}
        return {**row, **times, "as_expected": "yes" if self.as_expected else "NO"}

    def __str__(self) -> str:
        outcome = "" if self.as_expected else "NOT AS EXPECTED: "
        times = f"after {self.stated_at - self.began:.1f} s, at rest at {self.ended:.1f} s"
        return f"{self.began:6.1f} s: {self.name}: {outcome}{self.stated}, {times}"


class Steps:
    """Performs the steps on the repository of one server; all on the reactor thread."""

    def __init__(
        self,
        reactor: Any,
        url: str,
        folder: Path,
        token: str,
        default: Expected,
        labelled: Expected,
    ) -> None:
        """*folder* is as `prepare` left it; *default* and *labelled* learn what may answer."""
        self._reactor = reactor
        self._clock = MonotonicTime(reactor)
        self._url = url
        self._model = folder / "models" / NAME
        self._made = folder / "made"
        self._token = token
        self._default, self._labelled = default, labelled
        default.begins(2, 0.0)
        labelled.begins(1, 0.0)

    @staticmethod
    def prepare(made: Path, folder: Path) -> None:
        """
        Make the repository ``models`` in *folder*, with the first two of the versions *made*.

        Both serve from the start, one of them for the label, so that the requests are divided in
        the same way before and after each swap.

        The other versions are copied to ``made`` in *folder*, where the steps take them from.
        """
        shutil.copytree(made, folder / "made")
        model = folder / "models" / NAME
        model.mkdir(parents=True)
        for version in ("1", "2"):
            (folder / "made" / version).rename(model / version)
        (model / "serving.toml").write_text(f"[labels]\n{LABEL} = 1\n")

    def all(self, swaps: int) -> Iterator[Callable[[float], Awaitable[Step]]]:
        """Yield the steps in order; each is called with the time at which the load began."""
        for version in range(3, swaps + 3):
            yield partial(self._swap, f"swap to {version}", version, self._rename)
        broken, slow, golden, short = all_versions(swaps)[-len(BAD) :]
        yield partial(self._label, f"label to {swaps + 2}", swaps + 2)
        yield partial(self._fail, "broken version", broken, self._break)
        yield partial(self._swap, "slow copy", slow, self._copy_slowly)
        yield partial(self._fail, "wrong golden answer", golden, self._expect_wrong)
        yield partial(self._fail, "copy cut short", short, self._cut_short)
        yield partial(self._label, "label back to 1", 1)

    # The steps.

    async def _swap(
        self, name: str, version: int, put: Callable[[int], object], since: float
    ) -> Step:
        def serves(stated: dict[str, Any]) -> bool:
            return bool(stated["default_version"] == str(version))

        return await self._do(name, version, put, since, serves, self._default)

    async def _fail(
        self, name: str, version: int, put: Callable[[int], object], since: float
    ) -> Step:
        return await self._do(
            name, version, put, since, lambda it: states(it).get(version) == "failed"
        )

    async def _label(self, name: str, version: int, since: float) -> Step:
        def answers(stated: dict[str, Any]) -> bool:
            return any(
                it["version"] == str(version) and LABEL in it["labels"] for it in stated["versions"]
            )

        return await self._do(name, version, self._put_label, since, answers, self._labelled)

    async def _do(
        self,
        name: str,
        version: int,
        put: Callable[[int], object],
        since: float,
        outcome: Outcome,
        expected: Expected | None = None,
    ) -> Step:
        """Do *put*, wait for the *outcome*, which makes *version* answer alone, and for rest."""
        began = self._clock.seconds()
        if expected is not None:
            expected.begins(version, began)
        await deferToThread(put, version)
        stated, as_expected = await self._when(outcome)
        stated_at = self._clock.seconds()
        if expected is not None and as_expected:
            expected.alone(version, stated_at)
        words = _words(stated, version)
        await self._when(lambda it: set(states(it).values()) <= AT_REST)
        ended = self._clock.seconds()
        return Step(name, began - since, stated_at - since, ended - since, as_expected, words)

    async def _when(self, outcome: Outcome) -> tuple[dict[str, Any], bool]:
        """Return the first report that has the *outcome*, or the last one within the time."""
        deadline = self._clock.seconds() + WAIT_SECONDS
        while True:
            stated = await deferToThread(report, self._url)
            if outcome(stated) or self._clock.seconds() > deadline:
                return stated, outcome(stated)
            await deferLater(self._reactor, POLL_SECONDS, lambda: None)

    # What they do to the files; on another thread, because it blocks.

    def _rename(self, version: int) -> None:
        (self._made / str(version)).rename(self._model / str(version))

    def _break(self, version: int) -> None:
        (self._made / str(version) / "saved_model.pb").write_bytes(bytes(range(256)) * 40)
        self._rename(version)

    def _expect_wrong(self, version: int) -> None:
        write_golden(self._made / str(version), version + 1.0)
        self._rename(version)

    def _cut_short(self, version: int) -> None:
        """Leave what a copy to a full disk leaves: half of the weights."""
        weights = max((self._made / str(version)).rglob("*"), key=lambda it: it.stat().st_size)
        with weights.open("r+b") as file:
            file.truncate(weights.stat().st_size // 2)
        place(self._made / str(version), self._model / str(version))

    def _copy_slowly(self, version: int) -> None:
        made = self._made / str(version)
        for path in sorted(it for it in made.rglob("*") if it.is_file()):
            copy = self._model / str(version) / path.relative_to(made)
            copy.parent.mkdir(parents=True, exist_ok=True)
            content = path.read_bytes()
            size = max(1 << 20, -(-len(content) // PIECES))
            with copy.open("wb") as file:
                for at in range(0, len(content), size):
                    file.write(content[at : at + size])
                    file.flush()
                    time.sleep(PAUSE_SECONDS)

    def _put_label(self, version: int) -> None:
        request = Request(  # noqa: S310 - our own
            f"{self._url}models/{NAME}/labels/{LABEL}",
            json.dumps({"version": version}).encode(),
            {"Authorization": f"Bearer {self._token}"},
            method="PUT",
        )
        with urlopen(request, timeout=PATIENCE) as answer:  # noqa: S310 - the same
            answer.read()


def _words(stated: dict[str, Any], version: int) -> str:
    """Return the state of *version* in the report *stated*, and its reason."""
    for it in stated["versions"]:
        if it["version"] == str(version):
            return f"{it['state']} {it['reason']}".strip()[:100]
    return "absent"
