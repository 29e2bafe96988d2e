"""How many tokens a text is, by tiktoken, without a download.

tiktoken fetches its rank files from the network when first used. Here they come with the package, compressed, in
`tasks/ranks/`, and the encodings are built from them directly: there is no cache folder to prime, trust or repair and no
environment variable, and it is no slower than tiktoken's reading of its own cache. The ranks' README has their origin.

An encoding takes some 0.3 s to load, once in a process, and counting 1 MB some 0.3 s: call both off the event loop. They
may be called from any thread; tiktoken encodes without holding Python's lock.
"""

import hashlib
import lzma
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from itertools import accumulate, pairwise

import tiktoken
import tiktoken.model

from models.errors import SettingInvalid

#: Characters encoded at once. tiktoken panics at a million spaces (with a BaseException, past `except Exception`) and
#: takes 0.3 s for a million letters of one kind; this many of anything take below 50 ms. Shorter texts are never cut.
MAX_PIECE = 65_536

DEFAULT = "o200k_base"
"""The encoding of OpenAI's models since gpt-4o, and what stands in for every model that tiktoken does not know."""


@dataclass(frozen=True, slots=True)
class _Ranks:
    """What makes an encoding: its number of tokens, the sha256 of the unpacked ranks, and how it splits text first."""

    tokens: int
    sha256: str
    pattern: str


_UPPER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
_LOWER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_ENDING = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"

_RANKS = {
    DEFAULT: _Ranks(
        199_998,
        "440741350e7cfa1c0f4869ce742d1b043550adbda5187adcac9e787edac6fba9",
        rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_ENDING}|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{_ENDING}"
        r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ),
    "cl100k_base": _Ranks(
        100_256,
        "18288f996f452d44e0e65996176591a4b712a3eb1b42afd6f0511e735c099480",
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]"
        r"|\s+(?!\S)|\s",
    ),
}

#: Bytes of the longest token of either encoding: so many characters make one token at least.
MAX_TOKEN_BYTES = 128

_loaded: dict[str, tiktoken.Encoding] = {}
_loading = threading.Lock()


def count(text: str, model: str) -> int:
    """The tokens of `text` as plain text (special tokens in it are ordinary characters) for `model`.

    Exactly tiktoken's count for up to MAX_PIECE characters, and for longer texts as long as a word ends in every half
    of that; a run without any end of a word is cut, which can add or save a token or two at each cut.
    """
    encoding = encoder(model)
    return sum(len(encoding.encode_ordinary(piece)) for piece in _pieces(text))


def count_within(text: str, model: str, limit: int) -> int | None:
    """The tokens of `text`, or None where they are more than `limit`; then no more is counted than it takes to know."""
    if len(text) > limit * MAX_TOKEN_BYTES or limit < 0:
        return None
    encoding, found = encoder(model), 0
    for piece in _pieces(text):
        found += len(encoding.encode_ordinary(piece))
        if found > limit:
            return None
    return found


def is_loaded(model: str) -> bool:
    """Whether counting for `model` waits for no encoding to be read."""
    return _encoding_name(model) in _loaded


def encoder(model: str) -> tiktoken.Encoding:
    """The encoding of `model`, a name without its provider. It knows no special tokens.

    Bound what you give to it: see MAX_PIECE. Raises SettingInvalid where the package's rank file is damaged.
    """
    name = _encoding_name(model)
    found = _loaded.get(name)
    if found is None:
        with _loading:
            found = _loaded.get(name)
            if found is None:
                found = _loaded[name] = _load(name)
    return found


def _encoding_name(model: str) -> str:
    try:
        name = tiktoken.model.encoding_name_for_model(model)
    except KeyError:
        return DEFAULT
    return name if name in _RANKS else DEFAULT


def _load(name: str) -> tiktoken.Encoding:
    """An encoding from `ranks/<name>.xz`: a byte for each token's length, then the tokens' bytes, both in order of rank."""
    ranks = _RANKS[name]
    try:
        data = lzma.decompress((files("tasks") / "ranks" / f"{name}.xz").read_bytes())
    except (OSError, lzma.LZMAError):
        data = b""
    if hashlib.sha256(data).hexdigest() != ranks.sha256:
        raise SettingInvalid(f"The package's tasks/ranks/{name}.xz is missing or damaged; install the package again")
    bounds = pairwise(accumulate(data[: ranks.tokens], initial=ranks.tokens))
    return tiktoken.Encoding(
        name,
        pat_str=ranks.pattern,
        mergeable_ranks={data[start:end]: rank for rank, (start, end) in enumerate(bounds)},
        special_tokens={},
    )


_WORD_END = re.compile(r"(?<=[^\W_])(?=[ \n])")
"""Between a letter or digit and a blank: both encodings split there whatever stands around it."""


def _pieces(text: str) -> Iterator[str]:
    """`text` in pieces of at most MAX_PIECE characters, cut at the end of a word where there is one."""
    start = 0
    while len(text) - start > MAX_PIECE:
        end = start + MAX_PIECE
        for found in _WORD_END.finditer(text, start + MAX_PIECE // 2, end):
            end = found.start()
        yield text[start:end]
        start = end
    yield text[start:]
