"""A passphrase comes from an open descriptor or an unseen prompt, and nothing else is tried in its place."""

from __future__ import annotations

import argparse
import io
import os

import pytest

from govdesk.cli import commands, passphrase
from govdesk.errors import UsageError


@pytest.fixture
def holding():
    """A descriptor that holds some bytes and then ends."""
    made = []

    def hold(content: bytes) -> argparse.Namespace:
        reading, writing = os.pipe()
        os.write(writing, content)
        os.close(writing)
        made.append(reading)
        return argparse.Namespace(passphrase_fd=reading)

    yield hold
    for descriptor in made:
        os.close(descriptor)


@pytest.mark.parametrize(
    "content",
    [
        b"four quiet words",
        b"four quiet words\n",
        b"four quiet words\r\n",
        b"four quiet words\nsomething else\n",
    ],
)
def test_a_line_from_a_descriptor(holding, content):
    assert passphrase.read(holding(content)) == "four quiet words"


def test_two_lines_one_after_the_other_are_one_passphrase_each(holding):
    parsed = holding("größer\n".encode())
    assert passphrase.read(parsed) == "größer"
    assert passphrase.read(parsed) == ""


@pytest.mark.parametrize("content", [b"\xff\xfe\n", b"x" * 5000, b"x" * 4097 + b"\n"])
def test_what_is_no_line_of_text_is_refused_unseen(holding, content):
    with pytest.raises(UsageError) as caught:
        passphrase.read(holding(content))
    assert "xxx" not in caught.value.explain()


def test_a_descriptor_that_is_not_open_is_refused_before_anything_is_opened(holding):
    closed = os.dup(0)
    os.close(closed)
    with pytest.raises(UsageError) as caught:
        passphrase.require_descriptor(argparse.Namespace(passphrase_fd=closed))
    assert (caught.value.code, caught.value.exit_code) == ("passphrase.descriptor", 3)
    with pytest.raises(UsageError):
        passphrase.read(argparse.Namespace(passphrase_fd=closed))
    open_one = holding(b"x")
    assert passphrase.require_descriptor(open_one) == open_one.passphrase_fd
    assert passphrase.require_descriptor(argparse.Namespace(passphrase_fd=None)) is None
    assert passphrase.require_descriptor(argparse.Namespace()) is None


@pytest.mark.parametrize("number", ["-1", "99999999999", "three", "", "٣", "1e3", "1048577"])
def test_what_is_no_descriptor_is_wrong_usage(number):
    with pytest.raises(UsageError):
        commands.parse(["init", f"--passphrase-fd={number}"])


@pytest.mark.parametrize("number", ["-1", "99999999999999999999999", "4294967295", "x"])
def test_what_is_no_seed_is_wrong_usage(number):
    with pytest.raises(UsageError):
        commands.parse(["ask", f"--seed={number}", "Hello"])
    assert commands.parse(["ask", "--seed=4294967294", "Hello"]).seed == 2**32 - 2


def test_without_a_terminal_nobody_is_asked(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("four quiet words\n"))
    with pytest.raises(UsageError, match="no terminal"):
        passphrase.read(argparse.Namespace(passphrase_fd=None))


def test_the_prompt_is_unseen(monkeypatch):
    asked = []
    monkeypatch.setattr("sys.stdin", type("Terminal", (), {"isatty": lambda _: True})())
    monkeypatch.setattr(passphrase.getpass, "getpass", lambda prompt: asked.append(prompt) or "typed")
    assert passphrase.read(argparse.Namespace(passphrase_fd=None), "Say it: ") == "typed"
    assert asked == ["Say it: "]
