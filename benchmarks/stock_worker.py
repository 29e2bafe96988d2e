"""The product's worker with Dramatiq's own consumer, which looks into the queue again and again, in place of the one that is woken.

Only for comparison: `python -m benchmarks.stock_worker worker …` is `streamer worker …` otherwise.
"""

import sys
from typing import Any

from dramatiq.brokers.redis import RedisBroker, _RedisConsumer

from streamer.cli import main
from tasks import broker
from tasks.wake_consumer import WakeBroker


class StockBroker(WakeBroker):
    """What of it matters here is as in `RedisBroker`."""

    @property
    def consumer_class(self) -> Any:
        return _RedisConsumer

    def _should_do_maintenance(self, command: str) -> int:
        return int(RedisBroker._should_do_maintenance(self, command))


if __name__ == "__main__":
    vars(broker)["WakeBroker"] = StockBroker
    sys.exit(main())
