"""A provider for benchmarks, in a process of its own, that says in each answer when it was asked and when it spoke.

It is the tests' imitation of OpenAI. The first text of an answer is `<asked> <spoke> `, in ns of the machine's monotonic clock,
which all its processes share: so the provider's own time is known of each request, whatever stands between it and the viewer.
"""

import argparse
import asyncio
import re
import sys
import time

from tests.fakes.http_server import Exchange
from tests.fakes.openai_server import Answer, FakeOpenAI
from tests.fakes.scripted_server import prompt_of

#: Where the two stamps stand in the bytes of whatever passes the answer on.
STAMPS = re.compile(rb'"(?:text|content)":\s*"(\d+) (\d+) ')


class StampedOpenAI(FakeOpenAI):
    """Speaks at once, then a token at a time; no two tokens of an answer are alike."""

    def take(self, exchange: Exchange) -> None:
        """Keeps nothing of a call: there are many."""
        self.count(calls=1)

    async def follow_script(self, exchange: Exchange) -> None:
        asked = time.monotonic_ns()
        answer, body = self.usually, exchange.body
        await exchange.start(200, {"content-type": "text/event-stream; charset=utf-8"})
        for opening in self.opening(body, answer):
            await exchange.send(opening)
        for number, word in enumerate(self.words(prompt_of(body), answer.tokens)):
            text = word if number else f"{asked} {time.monotonic_ns()} "
            await exchange.send(next(self.events(body, answer, [text])))
            await asyncio.sleep(answer.delay_seconds)
        for last in self.events(body, answer, ()):
            await exchange.send(last)
        await exchange.end()


def main(arguments: list[str]) -> int:
    """Prints the port, and serves until nobody holds the other end of its standard input."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.provider", description=__doc__)
    parser.add_argument("--tokens", type=int, default=16)
    parser.add_argument("--token-ms", type=float, default=10)
    given = parser.parse_args(arguments)
    usage = {"prompt_tokens": 11, "completion_tokens": given.tokens, "total_tokens": 11 + given.tokens}
    with StampedOpenAI(Answer(tokens=given.tokens, delay_seconds=given.token_ms / 1000, usage=usage)) as provider:
        print(provider.port, flush=True)
        sys.stdin.read()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
