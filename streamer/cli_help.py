"""What `streamer … --help` teaches: examples, the settings that matter, exit codes."""

import textwrap
from dataclasses import fields

from models.settings import Settings, env_name

COLUMNS = 110

SUMMARIES = {
    "streamer": "AI chat for any site, self-hosted: streams that lose nothing, keys that never leave the server.",
    "up": "Run the whole service on this machine: private Redis, SQLite, one worker, the web server. Ctrl-C stops it.",
    "serve": "Run web processes, one by default. `streamer up` does so by itself; alone it is for more than one machine.",
    "worker": "Run worker processes, one by default. `streamer up` does so by itself; alone it is for more than one machine.",
    "local-model": "Serve a model of 135 million parameters on this machine, for trying things out: it gets much wrong.\n"
    "`streamer up` runs it by itself where a route uses local:smollm2; alone it is for `streamer worker`, and prints\n"
    "the two variables that a worker needs.",
    "migrate": "Bring the database's schema up to date. `streamer up` does so by itself.",
    "link": "Print a fresh address of the chat page, which lets its holder in until the grant expires.",
    "keys": "Make, list and revoke API keys: what your own servers show to get in.",
    "keys create": "Make an API key and print it. It is shown this once.",
    "keys list": "List all API keys, with their ids; the keys themselves are not stored. Times are UTC.",
    "keys revoke": "Revoke an API key for good, and with it all tokens and open streams that it gave, within 15 s.",
    "keys signing-secret": "Show or change what results of /v1/chat are signed with.",
    "keys signing-secret show": "Print the signing secret that is valid now, for whoever verifies results.",
    "keys signing-secret rotate": "Begin a new signing secret and print it. The one before signs too for a while.",
    "routes": "Check the routes' file, and show what holds for each route.",
    "routes check": "Print every mistake of the routes' file with its line and key, or how many routes are fine.",
    "routes show": "Print all routes, or one, with the values that hold: the file's, else the settings'.",
    "health": "Tell by the exit code whether what runs on this machine lives, for whoever restarts it; with --ready whether it\n"
    "can do its work, for whoever sends it some. Without a role it looks at what process 1 runs, as in a container.",
    "doctor": "Look at everything that the service needs, and say what to change. It changes nothing and prints no secret.",
}

EXAMPLES = {
    "streamer": ["streamer up", 'streamer keys create --name "my site"', "streamer COMMAND --help"],
    "up": [
        "streamer up",
        "streamer up --port 9000 --data /srv/streamer",
        "OPENAI_API_KEY=sk-… streamer up",
        "STREAMER_MODEL=local:smollm2 streamer up",
        "REDIS_URL=redis://10.0.0.5/0 streamer up --host 0.0.0.0",
    ],
    "serve": ["REDIS_URL=redis://10.0.0.5/0 DATABASE_URL=postgresql://… streamer serve --host 0.0.0.0 --processes 2"],
    "worker": [
        "REDIS_URL=redis://10.0.0.5/0 DATABASE_URL=postgresql://… streamer worker --processes 2 --concurrency 100"
    ],
    "local-model": ["streamer local-model", "STREAMER_LOCAL_API_KEY=… streamer local-model --port 9100"],
    "migrate": ["streamer migrate --data /srv/streamer"],
    "link": ["streamer link", "streamer link --url https://chat.example.org"],
    "keys": [
        'streamer keys create --name "my site"',
        "streamer keys list",
        "streamer keys revoke key_0123456789abcdef",
    ],
    "keys create": [
        'streamer keys create --name "my site"',
        'streamer keys create --name reports --scopes "chat" --expires-days 30',
    ],
    "keys list": ["streamer keys list"],
    "keys revoke": ["streamer keys revoke key_0123456789abcdef"],
    "keys signing-secret": ["streamer keys signing-secret show", "streamer keys signing-secret rotate"],
    "keys signing-secret show": ["streamer keys signing-secret show"],
    "keys signing-secret rotate": [
        "streamer keys signing-secret rotate",
        "streamer keys signing-secret rotate --tenant ten_0123456789abcdef",
    ],
    "routes": ["streamer routes check", "streamer routes show chat"],
    "routes check": ["streamer routes check", "streamer routes check /srv/streamer/streamer.toml"],
    "routes show": ["streamer routes show", "streamer routes show chat", "streamer routes show --json"],
    "health": [
        "streamer health",
        "streamer health serve --port 9000 --ready",
        "streamer health worker --processes 2",
        "streamer health up --data /srv/streamer --json",
    ],
    "doctor": ["streamer doctor", "streamer doctor --data /srv/streamer --online", "streamer doctor --json"],
}

SETTINGS = {
    "up": ["data", "host", "port", "openai_api_key", "model", "redis_url", "database_url", "routes_file", "log_level"],
    "serve": ["data", "host", "port", "redis_url", "database_url", "secret", "web_drain_seconds", "log_level"],
    "worker": [
        "data",
        "redis_url",
        "database_url",
        "openai_api_key",
        "model",
        "secret",
        "worker_threads",
        "worker_drain_seconds",
    ],
    "local-model": ["local_slots", "local_api_key", "log_level"],
    "migrate": ["data", "database_url"],
    "link": ["data", "secret", "grant_seconds"],
    "keys create": ["data", "database_url", "secret"],
    "keys list": ["data", "database_url"],
    "keys revoke": ["data", "database_url"],
    "keys signing-secret show": ["data", "database_url", "secret"],
    "keys signing-secret rotate": ["data", "database_url", "secret", "signing_overlap_seconds"],
    "routes check": ["data", "routes_file", "model", "max_input_tokens"],
    "routes show": [
        "data",
        "routes_file",
        "model",
        "max_input_tokens",
        "cache_seconds",
        "max_requests",
        "request_window_seconds",
    ],
    "health": ["data", "host", "port", "redis_url", "database_url", "heartbeat_seconds"],
    "doctor": [
        "data",
        "redis_url",
        "broker_url",
        "database_url",
        "secret",
        "routes_file",
        "openai_api_key",
        "no_color",
    ],
}

EXIT_CODES = """exit codes:
  0    done, or stopped as asked by SIGTERM or Ctrl-C
  1    the settings, the files or the machine don't allow it; one line on stderr says what to change.
       Of `health` and `doctor`: something is not as it should be
  2    the command line is wrong
  70   a defect of the program; one line on stderr says where
  130  interrupted by Ctrl-C before it had begun"""


def epilog(name: str) -> str:
    """The part of a command's help below its options."""
    blocks = ["examples:\n" + "\n".join(f"  {line}" for line in EXAMPLES[name])]
    if name in SETTINGS:
        blocks.append("environment (options win over it):\n" + "\n".join(map(_setting, SETTINGS[name])))
    return "\n\n".join([*blocks, EXIT_CODES])


def _setting(name: str) -> str:
    item = next(each for each in fields(Settings) if each.name == name)
    default = f" (default {item.default:g} {item.metadata['unit']})" if isinstance(item.default, float) else ""
    return textwrap.fill(
        f"{env_name(name):<30} {item.metadata['help']}{default}",
        COLUMNS,
        initial_indent="  ",
        subsequent_indent=" " * 33,
        break_on_hyphens=False,
        break_long_words=False,
    )
