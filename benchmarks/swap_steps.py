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

#: What a step waits for: whether the report of the model has the outcome.
Outcome = Callable[[dict[str, Any]], bool]


def all_versions(swaps: int) -> range:
    """Return the versions: the one at the start, one for each of *swaps*, one for each of `BAD`."""
    return range(1, swaps + 2 + len(BAD))


@dataclass(frozen=True, slots=True)
class Step:
    """A step that is done; times are seconds since the load began."""

    name: str
    began: float
    ended: float  #: when the server stated the outcome
    as_expected: bool  #: whether it was the expected one
    stated: str  #: the state of the version in the end, and its reason

    def as_json(self) -> dict[str, Any]:
        """Return the step as a row."""
        row = asdict(self)
        row |= {"began": round(self.began, 2), "ended": round(self.ended, 2)}
        return {**row, "as_expected": "yes" if self.as_expected else "NO"}

    def __str__(self) -> str:
        outcome = "" if self.as_expected else "NOT AS EXPECTED: "
        return f"{self.began:6.1f} s: {self.name}: {outcome}{self.stated}, {self.ended:.1f} s"


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
        default.begins(1, 0.0)
        labelled.begins(1, 0.0)

    @staticmethod
    def prepare(made: Path, folder: Path) -> None:
        """
        Make the repository ``models`` in *folder*, with the first of the versions *made*.

        The other versions are copied to ``made`` in *folder*, where the steps take them from.
        """
        shutil.copytree(made, folder / "made")
        model = folder / "models" / NAME
        model.mkdir(parents=True)
        (folder / "made" / "1").rename(model / "1")
        (model / "serving.toml").write_text(f"[labels]\n{LABEL} = 1\n")

    def all(self, swaps: int) -> Iterator[Callable[[float], Awaitable[Step]]]:
        """Yield the steps in order; each is called with the time at which the load began."""
        for version in range(2, swaps + 2):
            yield partial(self._swap, f"swap to {version}", version, self._rename)
        broken, slow, golden, short = all_versions(swaps)[-len(BAD) :]
        yield partial(self._label, f"label to {swaps + 1}", swaps + 1)
        yield partial(self._fail, "broken version", broken, self._break)
        yield partial(self._swap, "slow copy", slow, self._copy_slowly)
        yield partial(self._fail, "wrong golden answer", golden, self._expect_wrong)
        yield partial(self._fail, "copy cut short", short, self._cut_short)
        yield partial(self._label, "label back to 1", 1)

    # The steps.

    async def _swap(
        self, name: str, version: int, put: Callable[[int], object], since: float
    ) -> Step:
        began = self._clock.seconds()
        self._default.begins(version, began)
        await deferToThread(put, version)
        step = await self._outcome(
            name, version, began, since, lambda it: it["default_version"] == str(version)
        )
        if step.as_expected:
            self._default.alone(version, self._clock.seconds())
        return step

    async def _fail(
        self, name: str, version: int, put: Callable[[int], object], since: float
    ) -> Step:
        began = self._clock.seconds()
        await deferToThread(put, version)
        return await self._outcome(
            name, version, began, since, lambda it: states(it).get(version) == "failed"
        )

    async def _label(self, name: str, version: int, since: float) -> Step:
        began = self._clock.seconds()
        self._labelled.begins(version, began)
        await deferToThread(self._put_label, version)

        def answers(stated: dict[str, Any]) -> bool:
            return any(
                it["version"] == str(version) and LABEL in it["labels"] for it in stated["versions"]
            )

        step = await self._outcome(name, version, began, since, answers)
        if step.as_expected:
            self._labelled.alone(version, self._clock.seconds())
        return step

    async def _outcome(
        self, name: str, version: int, began: float, since: float, outcome: Outcome
    ) -> Step:
        while True:
            stated = await deferToThread(report, self._url)
            now, reached = self._clock.seconds(), outcome(stated)
            if reached or now - began > WAIT_SECONDS:
                break
            await deferLater(self._reactor, POLL_SECONDS, lambda: None)
        words = next(
            f"{it['state']} {it['reason']}".strip()
            for it in (
                *stated["versions"],
                {"version": str(version), "state": "absent", "reason": ""},
            )
            if it["version"] == str(version)
        )
        return Step(name, began - since, now - since, reached, words[:100])

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
