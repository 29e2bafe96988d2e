"""`/openapi.json` is true: the running service is called as it says, and as it forbids, and every answer is one that it names.

Schemathesis makes the calls. It runs as a command of its own, since its warnings and its plugin are not ours.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streamer.app import papers
from tests.system.product import Product

SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")

#: Quick answers, streams that end, and no limit that so many calls would reach.
SETTINGS = {
    "STREAMER_MODEL": "demo:echo",
    "STREAMER_DEMO_TOKENS_PER_SECOND": "100000",
    "STREAMER_MAX_WAIT_SECONDS": "0.1",
    "STREAMER_MAX_REQUESTS": "1000000",
    "STREAMER_MAX_KEY_REQUESTS": "1000000",
    "STREAMER_MAX_SIGN_INS": "1000000",
    "STREAMER_MAX_STREAM_SECONDS": "0.1",
    "STREAMER_MAX_OPEN_PER_VISITOR": "100000",
    "STREAMER_MAX_OPEN_PER_TENANT": "100000",
    "STREAMER_LOG_LEVEL": "INFO",
}

#: The same calls each time. A ticket beside a wrong token is what `ignored_auth` takes for a token that nobody looks at.
CONFIGURATION = """
[generation]
deterministic = true
database = "none"

[phases.coverage]
unexpected-methods = ["PUT"]
extra-data-sources.responses = false

[[operations]]
include-operation-id = "stream_chat"
checks.ignored_auth.enabled = false
"""

#: What fits its schema is accepted, or is about something that is not there. A schema can't tell, though, which routes a site
#: has, which characters are printable, whether a key was used before, which answers have ended, or what is a cursor or a grant.
CREDENTIALS = """
[auth.openapi]
visitor = { bearer = "${TOKEN}" }
apiKey = { bearer = "${API_KEY}" }

[checks.positive_data_acceptance]
expected-statuses = ["2xx", "304", "404", "409"]

[[operations]]
include-operation-id = [
    "create_session", "post_chat", "post_direct", "post_feedback", "get_conversations", "get_conversation"
]
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "404", "409", "422"]

[[operations]]
include-operation-id = "redeem_grant"
checks.positive_data_acceptance.expected-statuses = ["401"]
"""


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    with Product(tmp_path_factory.mktemp("product"), "http://127.0.0.1:9", SETTINGS) as product:
        yield product


def run(product: Product, folder: Path, configuration: str, *options: str) -> dict[str, Any]:
    """What was tested. It fails the test, with what Schemathesis printed, where an answer was none of those promised."""
    file, report = folder / "schemathesis.toml", folder / "report.json"
    file.write_text(configuration)
    command = [str(SCHEMATHESIS), f"--config-file={file}", "--no-color", "run", f"{product.url}/openapi.json"]
    done = subprocess.run(
        [*command, "--continue-on-failure", f"--report-json-path={report}", *options],
        cwd=folder,
        env={**os.environ, "TOKEN": product.visitor(), "API_KEY": product.api_key},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 500 " not in product.log
    found: dict[str, Any] = json.loads(report.read_text())
    assert found["operations"]["tested"] == len(papers.operations) - 1  # it leaves out where the document came from
    return found


def test_every_answer_to_a_known_caller_is_one_that_the_papers_name(product: Product, tmp_path: Path) -> None:
    report = run(product, tmp_path, CONFIGURATION + CREDENTIALS, "--max-examples=5")

    rates = report["valid_rates"].items()
    accepted = {call for call, phases in rates if any(phase["accepted"] for phase in phases.values())}
    calls = {f"{each.method} {each.path}" for each in papers.operations}
    assert calls - accepted == {"GET /openapi.json", "POST /ai/v1/session/grant"}


def test_every_answer_to_a_stranger_is_one_that_the_papers_name(product: Product, tmp_path: Path) -> None:
    options = ("--phases=coverage", "--mode=positive", "--exclude-checks=positive_data_acceptance")
    report = run(product, tmp_path, CONFIGURATION, *options)

    assert report["test_cases"]["generated"] > len(papers.operations)
