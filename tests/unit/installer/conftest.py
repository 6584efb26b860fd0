"""The set-up is not installed: its tests find it in the checkout."""

import io
import os
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[3]
if str(CHECKOUT) not in sys.path:
    sys.path.insert(0, str(CHECKOUT))


class Said(io.StringIO):
    """What a report wrote."""

    terminal = False

    def isatty(self):
        return self.terminal


@pytest.fixture
def said():
    return Said()


@pytest.fixture
def report(said):
    from installer.setup.report import Report

    return Report(said)


@pytest.fixture
def commands(report, tmp_path):
    from installer.setup.commands import Commands

    return Commands(report, tmp_path / "log" / "setup.log", os.environ)


@pytest.fixture
def checkout():
    return CHECKOUT
