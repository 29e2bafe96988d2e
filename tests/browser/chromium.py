"""Where the browser is, and how it is started."""

import os
import shutil

import pytest

#: No sandbox, so that it runs as root in a container; nothing that talks to the outside or keeps state.
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def find_chromium() -> str:
    """The path of Chromium. Without one the test is skipped, saying what to type; with CI=true it fails."""
    for candidate in (os.environ.get("CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome"):
        found = shutil.which(candidate) if candidate else None
        if found:
            return found
    reason = "no Chromium: `sudo apt-get install -y chromium`, or CHROMIUM=/path/to/chromium make test"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
