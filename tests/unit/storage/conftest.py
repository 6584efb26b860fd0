import pytest

from govdesk.storage.conversations import EncryptedConversations
from govdesk.storage.database import Database

KEY = bytes(range(32))


@pytest.fixture
def key():
    return bytearray(KEY)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "history.db"


@pytest.fixture
def database(path, key):
    database = Database.create(path, key)
    yield database
    database.close()


@pytest.fixture
def store(database):
    return EncryptedConversations(database)
