"""What `streamer up` prints when all is ready: once, short, each line something to do."""

import contextlib
import shlex
from pathlib import Path
from typing import TextIO

from models.route_file import load_routes
from models.secret import Secret
from models.settings import Settings
from streamer.first_key import FirstKey
from streamer.grant import GrantOffice
from tasks.providers.local import ROUTE_MODEL, WORDS


def chat_page(settings: Settings, secret: Secret, url: str) -> str:
    """The chat page's address with a fresh grant in its fragment, which browsers send to no server.

    Raises SettingInvalid where there is no API key to grant under.
    """
    return f"{url}/#grant={GrantOffice(settings, secret).mint()}"


def welcome(settings: Settings, secret: Secret, url: str, key: FirstKey, out: TextIO) -> None:
    """Prints it; with colours on a terminal only."""
    key_file = _short(settings.data_path / "api_key")
    rows = [
        ("Chat page", _bold(chat_page(settings, secret, url), out)),
        (
            "API key",
            str(key_file) + (f", which is {key.value}: see `streamer keys`" if key is not FirstKey.GOOD else ""),
        ),
        ("Model", _model(settings)),
        ("Stop", "Ctrl-C"),
    ]
    authorization = f'"Authorization: Bearer $(cat {shlex.quote(str(key_file))})"'
    lines = [
        "",
        _bold("The service is ready.", out),
        "",
        *(f"  {name:<10} {text}" for name, text in rows),
        "",
        "  A token for a visitor of your site:",
        f"    curl -s {url}/ai/v1/session -H {authorization} -H 'Content-Type: application/json' -d '{{\"user\":\"u1\"}}'",
        "",
    ]
    with contextlib.suppress(BrokenPipeError):  # nobody reads it: no reason not to run
        print(*lines, sep="\n", file=out, flush=True)


def _model(settings: Settings) -> str:
    model = load_routes(settings)["chat"].model
    if model.startswith("demo:"):
        return f"{model} (offline; no key set: set OPENAI_API_KEY for a real model)"
    return f"{model} ({WORDS})" if model == ROUTE_MODEL else model


def _short(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _bold(text: str, out: TextIO) -> str:
    return f"\x1b[1m{text}\x1b[0m" if out.isatty() else text
