import datetime

import pytest

from govdesk import crypto
from govdesk.errors import MarkingError
from govdesk.policy import loader

GOOD = """
schema = 1
id = "site-a"
version = 3
system_high = "SECRET//NOFORN"
[consent]
title = "Notice"
text = "Use is monitored."
[redaction.prompt]
default = "redact"
"""


def check_marking(text):
    """Stands for the marking parser, which policy may not import."""
    if text != "SECRET//NOFORN":
        raise MarkingError("not a marking", rule="test")


@pytest.fixture(scope="session")
def keys():
    """A site's signing key: private and public PEM."""
    return crypto.new_signing_key()


@pytest.fixture
def load(keys):
    """Sign a text (or take a signature) and load it."""

    def signed(text, *, signature=None, roots=None, installed=True, context=loader.CONTEXT, app="1.2.3"):
        content = text if isinstance(text, bytes) else text.encode()
        if signature is None:
            signature = crypto.sign(keys[0], content, context=context)
        return loader.load(
            content,
            signature,
            [keys[1]] if roots is None else roots,
            check_marking=check_marking,
            today=datetime.date(2030, 5, 1),
            installed=installed,
            app_version=app,
        )

    return signed


@pytest.fixture
def good():
    return GOOD
