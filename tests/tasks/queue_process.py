"""A worker of the queue alone, with one thread and two messages beside it, for tests that kill it. Usage: URL.

It says each message that it begins on stdout, and ends none but `ended`.
"""

import sys
import threading

import dramatiq

from tasks.broker import ACTOR, QUEUE, make_broker


def run(word: str) -> None:
    print(word, flush=True)
    if word != "ended":
        threading.Event().wait()


broker = make_broker(sys.argv[1], connections=16)
dramatiq.actor(actor_name=ACTOR, queue_name=QUEUE, broker=broker)(run)
worker = dramatiq.Worker(broker, queues={QUEUE}, worker_timeout=1000, worker_threads=1)
worker.queue_prefetch = 2
worker.start()
threading.Event().wait()
