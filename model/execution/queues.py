"""
Hold the queues of one model: one for each `RunKey`, a signature and the shapes of its rows.

Used on the reactor thread only.
"""

from collections import OrderedDict

from batcher.learning.latency import LatencyCurve
from batcher.policy import Policy
from batcher.queue import Queue
from batcher.share import Share
from model.backend import LoadedModel
from model.signature import Arrays, Feed, RunKey

#: Largest number of queues for shapes that were not warmed up: clients may send any shape.
MAX_OTHER_QUEUES = 1024

#: A queue of feeds; its results are the outputs of the model.
FeedQueue = Queue[Feed, Arrays]


class Queues:
    """
    The queues of *model*.

    A queue may hold rows of *max_queue_bytes* bytes in total, or one largest batch if that is more.
    """

    def __init__(
        self,
        model: LoadedModel,
        share: Share,
        max_queue_bytes: int,
        policy: Policy | None = None,
    ) -> None:
        """
        *share* is the model's share of the time of the lanes; *policy* decides when its queues
        launch, None: the policy of the batcher.
        """
        self._policy = policy
        self.share = share
        self._model = model
        self.max_queue_bytes = max_queue_bytes
        #: The queue that `learn` made last for each signature, by the name of the signature.
        self.known: dict[str, FeedQueue] = {}
        self._caps: dict[str, int] = {}
        self._learned: dict[RunKey, FeedQueue] = {}
        self._others: OrderedDict[RunKey, FeedQueue] = OrderedDict()  # least recently used first

    def learn(self, sample: Feed, cap: int, measured: dict[int, float]) -> None:
        """
        Make the queue for feeds with the key of *sample*.

        *measured* maps the number of rows of a run to its seconds.  *cap*, the largest batch in
        rows, also applies to the queues of all other shapes of this signature.
        """
        sample.model = self._model
        name = sample.signature.name
        self._caps[name] = cap
        self._learned[sample.key] = self.known[name] = self._new(sample, cap, measured)

    def cap(self, signature: str) -> int:
        """Return the cap, in rows, that `learn` set last for the signature named *signature*."""
        return self._caps[signature]

    def of(self, feed: Feed) -> FeedQueue:
        """
        Return the queue for *feed*, which names the model from now on; make it if there is none.

        Call `learn` for the signature of *feed* first.  If there are more than `MAX_OTHER_QUEUES`
        queues that `learn` did not make, the least recently used one is removed.
        """
        feed.model = self._model
        key = feed.key
        queue = self._learned.get(key)
        if queue is None:
            queue = self._others.pop(key, None) or self._new(feed, self._caps[key.signature], {})
            self._others[key] = queue
            if len(self._others) > MAX_OTHER_QUEUES:
                self._others.popitem(last=False)
        return queue

    def _new(self, feed: Feed, cap: int, measured: dict[int, float]) -> FeedQueue:
        rows = max(cap, self.max_queue_bytes // max(1, feed.row_bytes))
        return Queue(
            LatencyCurve(measured),
            cap,
            rows,
            run_name(feed),
            share=self.share,
            policy=self._policy,
        )


def run_name(feed: Feed) -> str:
    """
    Return the name that reports use for the queue of *feed*.

    It is the name of the signature.  If the signature leaves the size of a row open, the shapes of
    the rows of *feed* follow.
    """
    signature = feed.signature
    first = 1 if signature.batched else 0
    shapes = [spec.shape and spec.shape[first:] for spec in signature.inputs]
    if all(shape is not None and None not in shape for shape in shapes):
        return signature.name
    return f"{signature.name} {', '.join(str(list(shape)) for shape in feed.key.shapes)}"
