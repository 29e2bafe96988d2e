"""`streamer local-model`: a very small model behind llama.cpp's own server, which speaks Chat Completions on loopback.

It is a process of its own, since it computes in native code: `streamer up` runs it as one of its parts.
"""

import logging
import os
import secrets
import signal
import sys
from pathlib import Path
from typing import NoReturn

from models.errors import SettingInvalid
from models.settings import Settings, env_name
from streamer.listen_address import free_port
from tasks.providers.local import CONTEXT_TOKENS, MODEL, OUTPUT_TOKENS, WORDS
from tasks.providers.local_weights import checked_weights

logger = logging.getLogger(__name__)

HOST = "127.0.0.1"

#: A slot's context takes 47 MB.
MOST_SLOTS = 64

#: Tokens of prompts that are read in one go: answers that run meanwhile go on in between.
BATCH_TOKENS = 256

#: ChatML as the model learnt it. Its own template says who it is where nobody does, which derails it.
#: A visitor's text can't end its turn: what begins a control token is taken apart.
TEMPLATE = r"""
{%- if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif -%}
{%- for message in messages %}
{{- '<|im_start|>' + message['role'] + '\n' + (message['content'] or '') | replace('<|', '< |') + '<|im_end|>\n' }}
{%- endfor -%}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif -%}
""".strip()


def local_model(settings: Settings, port: int) -> NoReturn:
    """Serves until SIGTERM or SIGINT, then ends the process; `port` 0 is any free one.

    Prints what a worker needs where the settings have no key. Raises SettingInvalid where packages, weights or port won't do.
    """
    if settings.local_slots > MOST_SLOTS:
        raise SettingInvalid(f"{env_name('local_slots')} must be {MOST_SLOTS} at most, not {settings.local_slots}")
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)  # before the server's threads start: they inherit it
    weights = checked_weights()
    key = settings.local_api_key or secrets.token_urlsafe(32)
    server = _serve(weights, free_port(HOST, port), key, settings.local_slots)
    url = f"{server.listening_address}/v1"  # type: ignore[attr-defined]
    if not settings.local_api_key:
        print(f"{env_name('local_base_url')}={url}", f"{env_name('local_api_key')}={key}", sep="\n", flush=True)
    logger.info("%s (%s) answers on %s, %d at once", MODEL, WORDS, url, settings.local_slots)
    signal.sigwait(signals)
    logger.info("stopping")
    sys.stdout.flush()
    os._exit(0)  # to take the server down in order may take half a minute while an answer runs


def _serve(weights: Path, port: int, key: str, slots: int) -> object:
    """The server, once it answers. All slots share one thread: more slow each other down on a machine that is busy."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(weights)
    params.model_alias = {MODEL}
    params.hostnames, params.port, params.api_keys = [HOST], port, [key]
    params.offline, params.ui, params.verbosity = True, False, 1  # it logs failures, and no texts
    params.n_parallel, params.n_ctx, params.n_predict = slots, slots * CONTEXT_TOKENS, OUTPUT_TOKENS
    params.n_batch, params.cache_ram_mib = BATCH_TOKENS, 0
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.chat_template = TEMPLATE
    try:
        return xllamacpp.Server(params)
    except RuntimeError as error:
        raise SettingInvalid(f"the local model can't be started on port {port}: {error}") from None
