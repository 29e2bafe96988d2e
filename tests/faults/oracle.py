"""What every row asserts in the end, beside its own: one terminal state, and log == row == viewer."""

import hashlib
import json
from typing import Any

from tests.faults.installation import Installation
from tests.faults.viewer import Viewer


def check_end(it: Installation, generation_id: str, *viewers: Viewer) -> dict[str, Any]:
    """The generation has ended once, and each viewer ended with what is stored. Returns the row."""
    row = it.row(generation_id)
    assert row["status"] in ("done", "incomplete", "error", "cancelled"), row["status"]
    digest = hashlib.sha256(row["text"].encode()).hexdigest()
    for viewer in viewers:
        assert viewer.end is not None, "a viewer learnt of no end"
        assert viewer.status == row["status"], (viewer.status, row["status"])
        assert viewer.text == row["text"], f"viewer {len(viewer.text)}, row {len(row['text'])} characters"
        assert viewer.end.id == row["terminal_id"], (viewer.end.id, row["terminal_id"])
        assert viewer.end.data["sha256"] == digest
        assert viewer.end.data["length"] == len(row["text"])
    return row


def log_text(it: Installation, generation_id: str) -> tuple[str, list[str]]:
    """What the log itself adds up to, and its kinds, read past the service."""
    text, kinds = "", []
    with it.redis.client() as client:
        entries: Any = client.xrange(f"events:{{{generation_id}}}")
    for _, fields in entries:
        kind, data = fields[b"k"].decode(), json.loads(fields[b"d"])
        kinds.append(kind)
        if kind == "started":
            text = ""
        elif kind == "delta":
            text += data["text"]
        elif kind == "snapshot":
            text = data["text"]
    return text, kinds


async def check_log(it: Installation, generation_id: str) -> None:
    """The log, once it is published, holds exactly one terminal event, as its last, and the row's text."""
    await it.until(lambda: it.row(generation_id)["terminal_published"], 30)
    text, kinds = log_text(it, generation_id)
    assert text == it.row(generation_id)["text"]
    assert [kind for kind in kinds if kind in ("done", "failed")] == kinds[-1:], kinds


async def check_quiet(it: Installation, port: int, timeout_seconds: float = 30.0) -> None:
    """Nothing is left over: no viewer, no channel, no subscription, no lease, no call to the provider."""

    def counts() -> dict[str, int]:
        with it.redis.client() as client:
            subscriptions = client.pubsub_channels("events:*")
        headers = {"authorization": f"Bearer {it.api_key}"}
        status, found, _ = it._request(port, "GET", "/readyz", None, headers)
        assert status in (200, 503), found
        return {
            **found["counts"],
            "tasks": 0,
            "subscriptions": len(subscriptions),
            "running": it.rows("SELECT count(*) FROM generation WHERE status = 'running'")[0][0],
            "calls": it.provider.answering,
        }

    await it.until(lambda: not any(counts().values()), timeout_seconds)


async def finish(it: Installation, port: int, chat: dict[str, Any], *viewers: Viewer) -> dict[str, Any]:
    """Waits for the viewers' and the log's end, and checks all that every row checks."""
    await it.until_ended(chat["id"], it.durations.bound(30))
    for viewer in viewers:
        if viewer.end is None:
            await viewer.follow(it.durations.bound(30))
    ended = check_end(it, chat["id"], *viewers)
    await check_log(it, chat["id"])
    await check_quiet(it, port)
    return ended
