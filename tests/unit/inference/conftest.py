"""No scripted worker, and no socket of one, outlives its test."""

import pytest

from tests.unit.inference.workers import ScriptedBroker


@pytest.fixture(autouse=True)
def nothing_left_open():
    yield
    while ScriptedBroker.made:
        ScriptedBroker.made.pop().close()
