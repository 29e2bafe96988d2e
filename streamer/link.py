"""`streamer link`: prints a fresh address of the chat page."""

from models.errors import SettingInvalid
from models.secret import load_secret
from models.settings import Settings
from streamer.data_folder import running_url
from streamer.welcome import chat_page


def link(settings: Settings, url: str | None) -> int:
    """Prints it, under `url` or where `streamer up` answers. Raises SettingInvalid where nothing runs on the data folder."""
    found = url or running_url(settings)
    if found is None:
        raise SettingInvalid(f"no `streamer up` is ready on {settings.data_path}: start it, see --data, or say --url")
    if not found.startswith(("http://", "https://")):
        raise SettingInvalid("--url must start with http:// or https://")
    print(chat_page(settings, load_secret(settings), found.rstrip("/")))
    return 0
