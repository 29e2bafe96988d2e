"""The command `streamer`: reads the command line, and runs what it names. Heavy imports wait until then."""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from models.errors import SettingInvalid, StreamerError
from models.settings import Settings
from streamer import cli_help
from streamer.main_process import ROLES, MainProcess, read_main_process
from streamer.version import version

#: Exit codes.
DONE, NOT_POSSIBLE, DEFECT, INTERRUPTED = 0, 1, 70, 130

Command = Callable[[Settings, argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code; what the operator can mend is one line on stderr."""
    chosen = _parser().parse_args(arguments)
    try:
        settings = chosen.read(
            data=chosen.data,
            host=getattr(chosen, "host", None),
            port=getattr(chosen, "port", None),
            worker_threads=getattr(chosen, "concurrency", None),
        )
        return int(chosen.run(settings, chosen))
    except StreamerError as error:
        return _fail(str(error), NOT_POSSIBLE)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        return NOT_POSSIBLE
    except Exception as error:
        from streamer.logging_setup import described

        return _fail(f"a defect of the program: {described(error)}", DEFECT)


def _fail(message: str, code: int) -> int:
    print(f"streamer: {' '.join(message.split())}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = _described(argparse.ArgumentParser(prog="streamer"), "streamer")
    parser.add_argument("--version", action="version", version=f"streamer {version()}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, run in (("up", _up), ("serve", _serve)):
        command = _command(commands, name, run)
        command.add_argument("--host", metavar="ADDRESS", help="address to listen on (default 127.0.0.1)")
        command.add_argument("--port", type=int, metavar="N", help="port to listen on (default 8000; 0: any free one)")
        if name == "serve":
            _add_processes(command)
            command.add_argument("--listening", type=int, help=argparse.SUPPRESS)  # the inherited socket's descriptor
    worker = _command(commands, "worker", _worker)
    _add_processes(worker)
    worker.add_argument("--concurrency", type=int, metavar="N", help="answers at once in each process (default 200)")
    local = _command(commands, "local-model", _local_model)
    local.add_argument("--port", type=int, metavar="N", help="port to listen on, on loopback (default: any free one)")
    _command(commands, "migrate", _migrate)
    link = _command(commands, "link", _link)
    link.add_argument("--url", help="where people reach the service, if not where `streamer up` answers")
    _add_keys(commands)
    _add_routes(commands)
    _add_health(commands)
    _add_doctor(commands)
    return parser


def _add_processes(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--processes", type=_count, default=1, metavar="N", help="processes, each started again if it dies (default 1)"
    )


def _count(word: str) -> int:
    """Raises ValueError where it is no number above zero, which argparse tells."""
    if (count := int(word)) < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return count


def _add_keys(commands: Any) -> None:
    keys = _described(commands.add_parser("keys", help=cli_help.SUMMARIES["keys"]), "keys")
    actions = keys.add_subparsers(metavar="ACTION", required=True)
    create = _command(actions, "create", _keys_create, "keys create")
    create.add_argument("--name", required=True, help="what the key is for; shown in the list")
    create.add_argument("--scopes", default="session chat", help='words with spaces between (default "session chat")')
    create.add_argument(
        "--expires-days", type=float, metavar="D", help="days that the key is good for (default: for ever)"
    )
    _command(actions, "list", _keys_list, "keys list")
    revoke = _command(actions, "revoke", _keys_revoke, "keys revoke")
    revoke.add_argument("id", metavar="ID", help="the key's id, as in the list")
    text = "keys signing-secret"
    signing = _described(actions.add_parser("signing-secret", help=cli_help.SUMMARIES[text]), text)
    signing_actions = signing.add_subparsers(metavar="ACTION", required=True)
    for name, run in (("show", _signing_secret_show), ("rotate", _signing_secret_rotate)):
        command = _command(signing_actions, name, run, f"{text} {name}")
        command.add_argument("--tenant", metavar="ID", help="whose it is (default: the tenant of the first API key)")


def _add_routes(commands: Any) -> None:
    routes = _described(commands.add_parser("routes", help=cli_help.SUMMARIES["routes"]), "routes")
    actions = routes.add_subparsers(metavar="ACTION", required=True)
    check = _command(actions, "check", _routes_check, "routes check")
    check.add_argument(
        "file", metavar="FILE", nargs="?", help="the file (default: the one that the service would read)"
    )
    show = _command(actions, "show", _routes_show, "routes show")
    show.add_argument("name", metavar="NAME", nargs="?", help="a route: shows all that holds for it")
    show.add_argument("--json", action="store_true", dest="as_json", help="for programs, with every value")


def _add_health(commands: Any) -> None:
    health = _command(commands, "health", _health)
    health.add_argument("role", nargs="?", choices=ROLES, help="what runs here (default: what process 1 does)")
    health.add_argument("--ready", action="store_true", help="also ask for all that it needs to do its work")
    health.add_argument("--processes", type=_count, metavar="N", help="workers that must live here (default 1)")
    health.add_argument("--host", metavar="ADDRESS", help="address that the web server listens on")
    health.add_argument("--port", type=int, metavar="N", help="port that it listens on (default 8000)")
    health.add_argument("--pid", type=int, default=1, metavar="N", help="the process to ask instead of process 1")
    health.add_argument("--json", action="store_true", dest="as_json", help="for programs")


def _add_doctor(commands: Any) -> None:
    doctor = _command(commands, "doctor", _doctor)
    doctor.add_argument("--json", action="store_true", dest="as_json", help="for programs")
    doctor.add_argument("--online", action="store_true", help="also try to connect to each provider's host")
    doctor.set_defaults(read=Settings.from_good_environ)  # a wrong variable is one of its lines


def _command(commands: Any, name: str, run: Command, text: str = "") -> argparse.ArgumentParser:
    parser = _described(commands.add_parser(name, help=cli_help.SUMMARIES[text or name]), text or name)
    parser.add_argument("--data", metavar="FOLDER", help="the data folder (default ./data)")
    parser.set_defaults(run=run, read=Settings.from_environ)
    return parser


def _described(parser: argparse.ArgumentParser, name: str) -> argparse.ArgumentParser:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = cli_help.SUMMARIES[name]
    parser.epilog = cli_help.epilog(name)
    return parser


def _up(settings: Settings, chosen: argparse.Namespace) -> int:
    from streamer.logging_setup import configure_logging
    from streamer.up import up

    configure_logging(settings, "up")
    return up(settings)


def _serve(settings: Settings, chosen: argparse.Namespace) -> int:
    from models.redis_address import redis_url
    from streamer.logging_setup import configure_logging
    from streamer.open_files import raise_open_files
    from streamer.processes import serve_many
    from streamer.server import serve

    configure_logging(settings, "web")
    raise_open_files()
    redis_url(settings)  # its absence is told in one line before uvicorn starts, which would end in its own way
    if chosen.processes > 1:
        return serve_many(settings, chosen.processes)
    return int(serve(settings, chosen.listening))


def _worker(settings: Settings, chosen: argparse.Namespace) -> int:
    from models.redis_address import redis_url
    from streamer.logging_setup import configure_logging
    from streamer.open_files import raise_open_files
    from streamer.processes import work_many
    from tasks.worker import work

    configure_logging(settings, "worker")
    raise_open_files()
    redis_url(settings)
    if chosen.processes > 1:
        return work_many(settings, chosen.processes)
    return work(settings)


def _local_model(settings: Settings, chosen: argparse.Namespace) -> int:
    from streamer.local_model import local_model
    from streamer.logging_setup import configure_logging

    configure_logging(settings, "local-model")
    return local_model(settings, chosen.port or 0)


def _migrate(settings: Settings, chosen: argparse.Namespace) -> int:
    from streamer.migrate import migrate

    return migrate(settings)


def _link(settings: Settings, chosen: argparse.Namespace) -> int:
    from streamer.link import link

    return link(settings, chosen.url)


def _keys_create(settings: Settings, chosen: argparse.Namespace) -> int:
    from streamer.keys import create

    return create(settings, chosen.name, chosen.scopes, chosen.expires_days)


def _keys_list(settings: Settings, chosen: argparse.Namespace) -> int:
    from streamer.keys import show

    return show(settings)


def _keys_revoke(settings: Settings, chosen: argparse.Namespace) -> int:
    from streamer.keys import revoke

    return revoke(settings, chosen.id)


def _signing_secret_show(settings: Settings, chosen: argparse.Namespace) -> int:
    from streamer.signing_secret import show

    return show(settings, chosen.tenant)


def _signing_secret_rotate(settings: Settings, chosen: argparse.Namespace) -> int:
    from streamer.signing_secret import rotate

    return rotate(settings, chosen.tenant)


def _routes_check(settings: Settings, chosen: argparse.Namespace) -> int:
    from streamer.routes_command import check

    return check(settings, chosen.file)


def _routes_show(settings: Settings, chosen: argparse.Namespace) -> int:
    from streamer.routes_command import show

    return show(settings, chosen.name, as_json=chosen.as_json)


def _health(settings: Settings, chosen: argparse.Namespace) -> int:
    from streamer.health_command import health

    found = MainProcess(chosen.role) if chosen.role else read_main_process(chosen.pid)
    if found is None:
        raise SettingInvalid(f"process {chosen.pid} is no `streamer` that serves or works: say serve, worker or up")
    settings = replace(
        settings,
        data=chosen.data or found.data or settings.data,
        host=chosen.host or found.host or settings.host,
        port=settings.port if found.port is None or chosen.port is not None else found.port,
    )
    asked = found._replace(processes=chosen.processes or found.processes)
    return health(settings, asked, ready=chosen.ready, in_json=chosen.as_json)


def _doctor(settings: Settings, chosen: argparse.Namespace) -> int:
    from streamer.doctor.command import doctor

    return doctor(settings, online=chosen.online, in_json=chosen.as_json)
