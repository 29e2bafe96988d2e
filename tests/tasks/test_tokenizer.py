"""Counting tokens: tiktoken's figures, without a network, whatever the text."""

import base64
import hashlib
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import tiktoken
import tiktoken_ext.openai_public as published  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st

from models.errors import SettingInvalid
from tasks import tokenizer

PUBLISHED = {
    "o200k_base": "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
    "cl100k_base": "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
}
A_MODEL_OF = {"o200k_base": "gpt-4o", "cl100k_base": "gpt-4"}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_ranks_are_openais_to_the_byte(name: str) -> None:
    encoding = tokenizer.encoder(A_MODEL_OF[name])
    lines = [
        base64.b64encode(encoding.decode_single_token_bytes(rank)) + b" %d\n" % rank for rank in range(encoding.n_vocab)
    ]
    assert hashlib.sha256(b"".join(lines)).hexdigest() == PUBLISHED[name]


@pytest.mark.parametrize("name", PUBLISHED)
def test_text_is_split_by_the_pattern_that_tiktoken_has(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published, "load_tiktoken_bpe", lambda *_args, **_named: {})
    assert tokenizer._RANKS[name].pattern == published.ENCODING_CONSTRUCTORS[name]()["pat_str"]


def test_hello_world_is_two_tokens() -> None:
    assert tokenizer.encoder("gpt-4o-mini").encode_ordinary("hello world") == [24912, 2375]
    assert tokenizer.count("hello world", "gpt-4o-mini") == 2
    assert tokenizer.count("", "gpt-4o-mini") == 0


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("gpt-4o-mini", "o200k_base"),
        ("ft:gpt-4o:org:name:id", "o200k_base"),
        ("gpt-3.5-turbo", "cl100k_base"),
        ("gpt-oss-120b", "o200k_base"),
        ("text-davinci-003", "o200k_base"),
        ("claude-opus-4", "o200k_base"),
        ("", "o200k_base"),
    ],
)
def test_a_model_has_its_encoding_and_an_unknown_one_the_newest(model: str, name: str) -> None:
    assert tokenizer.encoder(model).name == name


def test_no_socket_is_opened_and_no_file_written(tmp_path: Path) -> None:
    program = (
        "import os, sys\n"
        "def refuse(event, args):\n"
        "    if event.startswith('socket.'):\n"
        "        os._exit(3)\n"
        "sys.addaudithook(refuse)\n"
        "from tasks import tokenizer\n"
        "print(tokenizer.count('hello world', 'gpt-4o'), tokenizer.count('hello world', 'gpt-4'))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[2],
        env={"TMPDIR": str(tmp_path), "HOME": str(tmp_path), "TIKTOKEN_CACHE_DIR": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "2 2\n", "")
    assert list(tmp_path.iterdir()) == []


def test_special_tokens_in_a_text_are_plain_characters() -> None:
    assert tokenizer.count("<|endoftext|>", "gpt-4o") > 1


def test_lone_surrogates_and_nul_are_counted() -> None:
    assert tokenizer.count("a\ud83d\0b", "gpt-4o") > 0


@pytest.mark.parametrize("model", A_MODEL_OF.values())
@pytest.mark.parametrize(
    "text",
    [" " * 1_000_000, " " * 1_000_000 + "x", "\t " * 500_000 + "x", "\u00a0" * 1_000_000 + "x", "a" * 1_000_000],
    ids=["spaces", "spaces and a letter", "tabs", "no-break spaces", "one letter"],
)
def test_a_million_characters_without_a_word_do_not_panic(text: str, model: str) -> None:
    assert 0 < tokenizer.count(text, model) <= len(text)


@pytest.mark.parametrize("model", A_MODEL_OF.values())
def test_a_long_text_of_words_has_exactly_tiktokens_count(model: str) -> None:
    text = Path(__file__).read_text() * 40
    assert len(text) > 2 * tokenizer.MAX_PIECE
    assert tokenizer.count(text, model) == len(tokenizer.encoder(model).encode_ordinary(text))


AWKWARD = st.text(st.sampled_from("aB9é中½٣'s’_-. \n\r\t\u0301\u2028/ˣ😀〇"), max_size=40)


@given(AWKWARD)
def test_cutting_at_the_end_of_a_word_changes_no_token(text: str) -> None:
    for model in A_MODEL_OF.values():
        encode = tokenizer.encoder(model).encode_ordinary
        for cut in tokenizer._WORD_END.finditer(text):
            assert encode(text[: cut.start()]) + encode(text[cut.start() :]) == encode(text)


@given(AWKWARD, st.integers(2, 50))
def test_pieces_are_bounded_and_lose_nothing(text: str, bound: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokenizer, "MAX_PIECE", bound)
        pieces = list(tokenizer._pieces(text))
    assert "".join(pieces) == text
    assert max(map(len, pieces)) <= bound
    assert all(pieces) or pieces == [""]


def test_a_damaged_rank_file_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tokenizer, "files", lambda _package: tmp_path)
    with pytest.raises(SettingInvalid, match=r"tasks/ranks/o200k_base\.xz is missing"):
        tokenizer._load("o200k_base")
    (tmp_path / "ranks").mkdir()
    (tmp_path / "ranks" / "o200k_base.xz").write_bytes(b"\xfd7zXZ\0 and no more")
    with pytest.raises(SettingInvalid, match="damaged"):
        tokenizer._load("o200k_base")


class _LockForAll:
    """A lock that nobody gets before `count` threads want it."""

    def __init__(self, count: int) -> None:
        self._all = threading.Barrier(count)
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        self._all.wait(10)
        self._lock.acquire()

    def __exit__(self, *_error: object) -> None:
        self._lock.release()


def test_threads_that_ask_at_once_load_an_encoding_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    stand_in = tokenizer.encoder("gpt-4o")

    def load(name: str) -> tiktoken.Encoding:
        made.append(name)
        return stand_in

    monkeypatch.setattr(tokenizer, "_loaded", {})
    monkeypatch.setattr(tokenizer, "_load", load)
    monkeypatch.setattr(tokenizer, "_loading", _LockForAll(8))
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(tokenizer.encoder, ["gpt-4o"] * 8)) == [stand_in] * 8
    assert made == ["o200k_base"]


# Within a limit


@pytest.mark.parametrize("text", ["", "hello world", "word " * 30_000, " " * 200_000])
def test_a_count_within_a_limit_is_the_count_or_nothing(text: str) -> None:
    whole = tokenizer.count(text, "gpt-4o-mini")

    assert tokenizer.count_within(text, "gpt-4o-mini", whole) == whole
    assert tokenizer.count_within(text, "gpt-4o-mini", whole + 10_000) == whole
    assert tokenizer.count_within(text, "gpt-4o-mini", whole - 1) is None


@pytest.mark.parametrize("name", PUBLISHED)
def test_no_token_is_longer_than_is_said(name: str) -> None:
    encoding = tokenizer.encoder(A_MODEL_OF[name])

    assert max(len(token) for token in encoding.token_byte_values()) == tokenizer.MAX_TOKEN_BYTES


def test_what_can_not_fit_by_its_length_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizer, "encoder", lambda _: pytest.fail("it was counted"))

    assert tokenizer.count_within(" " * 1281, "gpt-4o-mini", 10) is None
