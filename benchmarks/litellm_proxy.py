"""LiteLLM's proxy as a peer: in an environment of its own, from a list locked by hashes; a run fetches nothing."""

import os
import subprocess
import sys
from pathlib import Path

from benchmarks.process import ROOT, Process
from benchmarks.service import answers, free_port

LOCK = ROOT / "benchmarks" / "litellm.txt"

KEY = "sk-of-the-benchmark"

#: Nothing is fetched, sent or written beside the log.
ENVIRON = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_MODE": "PRODUCTION",
    "LITELLM_LOG": "ERROR",
    "LITELLM_TELEMETRY": "False",
}

CONFIG = """
model_list:
  - model_name: gpt-4o-mini
    litellm_params:
      model: openai/gpt-4o-mini
      api_base: {url}
      api_key: sk-of-nobody
litellm_settings:
  telemetry: false
general_settings:
  master_key: {key}
"""

MISSING = (
    "LiteLLM's proxy is not installed for comparison, and is left out. This installs it, outside of the repository, some "
    "hundred megabytes:\n    python -m benchmarks install_litellm"
)


def version() -> str:
    """The release that is compared."""
    return next(
        line.split("==")[1].split(" ")[0] for line in LOCK.read_text().splitlines() if line.startswith("litellm==")
    )


def folder() -> Path:
    """Where its environment is, or would be."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "streamer-benchmarks" / f"litellm-{version()}"


def is_installed() -> bool:
    return (folder() / "installed").exists()


def install() -> None:
    """Makes the environment anew. It needs a package index, and some minutes."""
    place = folder()
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(place)], check=True)
    wheels = ["--require-hashes", "--only-binary=:all:", "-r", str(LOCK)]
    subprocess.run([str(place / "bin" / "python"), "-m", "pip", "install", "-q", *wheels], check=True)
    (place / "installed").touch()


def start(work: Path, provider_url: str) -> tuple[Process, int]:
    """The proxy in front of the provider, once it answers, and its port. One process, as it comes."""
    port = free_port()
    config = work / "litellm.yaml"
    config.write_text(CONFIG.format(url=provider_url, key=KEY))
    options = ["--config", str(config), "--host", "127.0.0.1", "--port", str(port), "--telemetry", "False"]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LITELLM_", "OPENAI_"))}
    process = Process("litellm", [str(folder() / "bin" / "litellm"), *options], work / "litellm.log", kept | ENVIRON)
    try:
        process.until(lambda: answers(port))
    except BaseException:
        process.stop()
        raise
    return process, port
