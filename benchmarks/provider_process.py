"""The provider's process, as a benchmark starts it."""

import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.process import Process


class ProviderProcess(Process):
    """`with ProviderProcess(folder, tokens, token_ms) as provider:` answers at `provider.url` until the block ends."""

    def __init__(self, folder: Path, tokens: int, token_ms: float) -> None:
        command = [sys.executable, "-m", "benchmarks.provider", "--tokens", str(tokens), "--token-ms", str(token_ms)]
        super().__init__("provider", command, folder / "provider.log")
        self.port = 0

    @property
    def url(self) -> str:
        """The base address, with /v1."""
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> Self:
        try:
            self.until(lambda: self.said().endswith("\n"))
        except BaseException:
            self.stop()
            raise
        self.port = int(self.said())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
