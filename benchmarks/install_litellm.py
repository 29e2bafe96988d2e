"""Installs LiteLLM's proxy, to be compared."""

import argparse

from benchmarks import litellm_proxy


def main(arguments: list[str]) -> int:
    """Returns the exit code."""
    argparse.ArgumentParser(prog="python -m benchmarks install_litellm", description=__doc__).parse_args(arguments)
    litellm_proxy.install()
    print(f"LiteLLM {litellm_proxy.version()} is in {litellm_proxy.folder()}")
    return 0
