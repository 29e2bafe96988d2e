"""`streamer migrate`: brings the database's schema up to date."""

from models.database import connect, migration_names
from models.errors import SettingInvalid
from models.settings import Settings


def migrate(settings: Settings) -> int:
    """Applies what is missing and says what there is. Raises SettingInvalid."""
    try:
        settings.data_path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise SettingInvalid(f"the data folder {settings.data} can't be made ({error.strerror}): see --data") from None
    connect(settings, migrating=True)
    names = migration_names()
    print(f"the database is up to date: {len(names)} migrations, the last {names[-1][0] if names else 'none'}")
    return 0
