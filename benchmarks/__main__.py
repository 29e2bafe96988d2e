"""The benchmarks, a command each: `python -m benchmarks churn --minutes 10`."""

import importlib
import sys

COMMANDS = {
    "first_token": "from a POST to the first text, beside peers",
    "round_trips": "statements, Redis commands and milliseconds of one request",
    "cold_call": "a provider call on a new connection, and on a kept one",
    "churn": "memory and descriptors of a web process while viewers come and go",
    "install_litellm": "installs the peer that first_token compares with",
}


def main() -> int:
    """Returns the exit code."""
    if len(sys.argv) < 2 or sys.argv[1] not in COMMANDS:
        print("usage: python -m benchmarks COMMAND …\n")
        print("\n".join(f"  {name:<16} {about}" for name, about in COMMANDS.items()))
        return 2 if len(sys.argv) > 1 else 0
    module = importlib.import_module(f"benchmarks.{sys.argv[1]}")
    return int(module.main(sys.argv[2:]))


if __name__ == "__main__":
    sys.exit(main())
