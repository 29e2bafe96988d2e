"""What the doctor sees of routes and providers."""

import contextlib
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from models.settings import Settings
from streamer.doctor import answers
from streamer.doctor.check import Check, Verdict, carry_out
from streamer.doctor.report import Scrubber
from tasks.providers import local_weights
from tests.fakes.certificate import make_certificate
from tests.streamer.doctor.finding import found, only

CANARY = "sk-canary-0123456789"


@pytest.fixture
def keyed(settings: Settings) -> Settings:
    return replace(settings, openai_api_key=CANARY)


def test_the_built_in_route_is_fine(settings: Settings) -> None:
    assert only(answers.routes, settings).found == "chat, which is built in: there is no file"
    assert only(answers.providers, settings).found == "demo for chat: needs no key"
    assert only(answers.hosts, settings).found == "demo needs no network"


def test_every_mistake_of_the_file_is_a_line(settings: Settings) -> None:
    (settings.data_path / "streamer.toml").write_text(
        '[routes.a]\nmodell = "demo:echo"\n[routes.b]\nmodel = "demmo:x"\n'
    )
    lines = found(answers.routes, settings)
    assert [verdict for verdict, _ in lines] == ["failed"] * 3
    assert any("streamer.toml:2: routes.a.modell: unknown key; did you mean model?" in words for _, words in lines)


def test_a_providers_key_is_told_to_be_there_and_not_told(keyed: Settings) -> None:
    assert only(answers.providers, keyed).found == "openai for chat: OPENAI_API_KEY is set"


def test_a_provider_without_its_key_is_told(settings: Settings) -> None:
    (line,) = carry_out([Check("providers", answers.providers)], replace(settings, model="openai:o3"))
    assert (line.finding.verdict, "OPENAI_API_KEY" in line.finding.found) == (Verdict.FAILED, True)


def test_a_host_that_listens_is_told_and_is_sent_nothing(keyed: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        there = replace(keyed, openai_base_url=f"http://127.0.0.1:{listening.getsockname()[1]}/v1")
        assert only(answers.hosts, there).verdict is Verdict.OK
        connection, _ = listening.accept()
        with connection:
            assert connection.recv(100) == b""
    finding = only(answers.hosts, there)
    assert (finding.verdict, "Connection refused" in finding.found) == (Verdict.FAILED, True)
    assert "OPENAI_BASE_URL" in finding.change


def shake_hands_once(listening: socket.socket, context: ssl.SSLContext) -> None:
    """Takes one connection and offers it the certificate of `context`."""
    connection, _ = listening.accept()
    with connection, contextlib.suppress(OSError):  # an SSLError is one: the client hangs up
        context.wrap_socket(connection, server_side=True).close()


def test_a_certificate_that_nobody_vouches_for_is_told(
    keyed: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = make_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        there = replace(keyed, openai_base_url=f"https://127.0.0.1:{listening.getsockname()[1]}/v1")
        with ThreadPoolExecutor(1) as pool:
            pool.submit(shake_hands_once, listening, context)
            finding = only(answers.hosts, there)
        assert (finding.verdict, "certificate that can't be trusted" in finding.found) == (Verdict.FAILED, True)
        monkeypatch.setattr(answers, "tls_context", lambda: ssl.create_default_context(cafile=file))
        with ThreadPoolExecutor(1) as pool:
            pool.submit(shake_hands_once, listening, context)
            assert only(answers.hosts, there).verdict is Verdict.OK


def test_a_host_that_speaks_no_tls_is_told(keyed: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "CONNECT_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as listening:  # it takes connections and says nothing
        there = replace(keyed, openai_base_url=f"https://127.0.0.1:{listening.getsockname()[1]}/v1")
        assert "did not answer within 0.05 s" in only(answers.hosts, there).found


def test_a_name_that_leads_into_ones_own_network_is_told(keyed: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("169.254.169.254", 443))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    finding = only(answers.hosts, replace(keyed, openai_base_url="https://api.example/v1"))
    assert (finding.verdict, "leads to 169.254.169.254" in finding.found) == (Verdict.FAILED, True)


def test_providers_of_the_file_are_looked_at(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEAR_API_KEY", CANARY)
    file = settings.data_path / "streamer.toml"
    table = '[providers.near]\nkind = "openai"\nbase_url = "http://localhost:1/v1"\nallow_private = true\n'
    route = '[routes.chat]\nmodel = "near:x"\n'
    file.write_text(table + route)
    assert only(answers.providers, settings).found == "near for chat: no key is sent"
    assert "providers.near.base_url" in only(answers.hosts, settings).change
    file.write_text(table + 'api_key_env = "NEAR_API_KEY"\n' + route)
    assert only(answers.providers, settings).found == "near for chat: NEAR_API_KEY is set"


def test_keys_of_the_file_are_known_to_who_takes_them_out_of_texts(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEAR_API_KEY", CANARY)
    table = '[providers.near]\nkind = "openai"\napi_key_env = "NEAR_API_KEY"\n[providers.far]\nkind = "openai"\n'
    (settings.data_path / "streamer.toml").write_text(table)
    assert Scrubber(settings, answers.keys(settings)).text(f"it is {CANARY}") == "it is …"


def test_fallbacks_and_what_servers_may_ask_for_are_looked_at(keyed: Settings) -> None:
    (keyed.data_path / "streamer.toml").write_text(
        '[routes.chat]\nmodel = "demo:echo"\nfallbacks = ["openai:o3"]\nmodels = ["anthropic:claude-haiku-4-5"]\n'
    )
    lines = [line.finding for line in carry_out([Check("providers", answers.providers)], keyed)]
    assert [finding.verdict for finding in lines] == [Verdict.FAILED]
    assert lines[0].found == "ANTHROPIC_API_KEY must hold a key to use https://api.anthropic.com"


def test_the_local_model_is_there_or_what_to_type_is_told(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    local = replace(settings, model="local:smollm2")
    monkeypatch.setattr(answers, "find_weights", lambda: Path("/weights"))
    assert only(answers.providers, local).found == "local: `streamer up` runs it, from /weights"
    monkeypatch.undo()
    monkeypatch.setattr(local_weights, "WEIGHTS", "no_such_package")
    (line,) = carry_out([Check("providers", answers.providers)], local)
    assert (line.finding.verdict, "scripts/install local" in line.finding.found) == (Verdict.FAILED, True)
    elsewhere = replace(local, local_base_url="http://127.0.0.1:9100/v1")
    assert only(answers.providers, elsewhere).verdict is Verdict.OK
