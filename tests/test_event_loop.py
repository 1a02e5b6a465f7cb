"""How late the timers of the event loop are: server/metrics/event_loop.py."""

from twisted.internet.task import Clock

from server.metrics.event_loop import LAG_INTERVAL_SECONDS, EventLoopLag


def test_each_delay_of_the_timer_is_counted() -> None:
    """After a callback that has blocked the reactor, the next measurement begins anew."""
    clock = Clock()
    lag = EventLoopLag(clock)
    lag.start()
    for delay in (0.0, 2.0, 0.0, 64.0):
        clock.advance(LAG_INTERVAL_SECONDS + delay)
    counts = lag.counts()
    assert (sum(counts.counts), round(counts.sum, 6)) == (4, 66.0)
    by_bound = dict(zip(counts.bounds, counts.counts, strict=False))
    assert (by_bound[0.0001], by_bound[2.5], counts.counts[-1]) == (2, 1, 1)
    lag.stop()
    lag.stop()
    assert clock.getDelayedCalls() == []
