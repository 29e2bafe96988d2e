"""The package's version, as `--version` and the papers tell it."""

from importlib import metadata


def version() -> str:
    """What was installed; in a checkout without an installation there is none."""
    try:
        return metadata.version("streamer")
    except metadata.PackageNotFoundError:
        return "from a checkout"
