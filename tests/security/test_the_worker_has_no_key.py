"""Promise: the worker never holds a key of the disk. No order has a place for one, none is on the wire, and
what comes to it by descriptor is memory that is sealed: no file and no folder of the profile.
"""

from __future__ import annotations

import base64
import fcntl
import os
import subprocess
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from govdesk import wire
from govdesk.crypto import KEY_BYTES
from govdesk.domain.frames import LoadModel, RestoreState, ToWorker, WriteState
from govdesk.domain.ids import ConversationId
from govdesk.inference.prompt_states import PromptStates, new_memfd
from govdesk.process import broker as broker_module
from govdesk.process.broker import Broker, Front, Launch
from govdesk.process.channel import Channel, pair
from govdesk.storage.conversations import EncryptedConversations
from govdesk.storage.database import Database
from tests.integration.test_prompt_state import LONG, Session

ALL_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
OF_FIXED_SIZE = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW

TEXTS = {
    "turn", "conversation", "messages.role", "messages.text", "grammar", "template", "kv", "weights", "devices",
}  # fmt: skip
"""Every field of an order that may hold text. A new one belongs here only if it can never hold a key."""


def _texts(kind: object, name: str) -> Iterator[str]:
    """The names of the fields in a type that may hold text; what may hold bytes or anything is refused."""
    if kind in (int, float, bool, type(None)):
        return
    if kind is str or typing.get_origin(kind) is typing.Literal:
        yield name
    elif isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        hints = typing.get_type_hints(kind)
        for one in kind.__struct_fields__:
            yield from _texts(hints[one], f"{name}.{one}" if name else one)
    elif typing.get_origin(kind) in (tuple, typing.Union, types.UnionType):
        for part in typing.get_args(kind):
            if part is not Ellipsis:
                yield from _texts(part, name)
    else:
        raise AssertionError(f"{name}: an order to the worker may hold {kind}")


def test_no_order_has_a_place_for_a_key() -> None:
    found = {name for order in typing.get_args(ToWorker) for name in _texts(order, "")}
    assert found == TEXTS


def test_an_order_with_bytes_would_be_seen() -> None:
    class WithKey(msgspec.Struct):
        key: bytes

    class WithAnything(msgspec.Struct):
        fields: dict[str, str]

    for order in (WithKey, WithAnything):
        with pytest.raises(AssertionError, match="may hold"):
            list(_texts(order, ""))


@dataclass
class Wire:
    """What went over every channel of this process: bytes, and what each descriptor was."""

    sent: bytearray = field(default_factory=bytearray)
    descriptors: list[tuple[type, str, int]] = field(default_factory=list)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Wire:
    seen, send = Wire(), Channel.send

    def spying(self: Channel, frame: msgspec.Struct, descriptors: tuple[int, ...] = ()) -> None:
        seen.sent += wire.encode(frame)
        for descriptor in descriptors:
            name = str(Path(f"/proc/self/fd/{descriptor}").readlink())
            seals = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) if name.startswith("/memfd:") else 0
            seen.descriptors.append((type(frame), name, seals))
        send(self, frame, descriptors)

    monkeypatch.setattr(Channel, "send", spying)
    return seen


def _spellings(key: bytes) -> tuple[bytes, ...]:
    return (
        key,
        key.hex().encode(),
        base64.b64encode(key).rstrip(b"="),
        base64.urlsafe_b64encode(key).rstrip(b"="),
    )


def test_a_session_that_keeps_and_gives_back_a_state_sends_no_key_and_no_file(
    tmp_path: Path, watched: Wire
) -> None:
    Database.create(tmp_path / "history.db", bytearray(32)).close()
    session = Session(tmp_path)
    try:
        conversation = EncryptedConversations(session.database).create("harbour", "", 1)
        usage = session.say(LONG, conversation)
        keys = [_keep(session, conversation, usage.prompt_tokens)]
        session.line.supervisor.stop()
        session.say(LONG, conversation)  # a fresh worker, and the state goes to it
        process = session.line.broker.process
        assert process is not None
        held = [str(path.readlink()) for path in Path(f"/proc/{process.pid}/fd").iterdir()]
    finally:
        session.end()
    kinds = {kind for kind, _, _ in watched.descriptors}
    assert {LoadModel, WriteState, RestoreState} <= kinds, "the session did what this is about"
    for kind, name, seals in watched.descriptors:
        assert name.startswith("/memfd:"), (kind, name)
        assert seals == (OF_FIXED_SIZE if kind is WriteState else ALL_SEALS), kind
    assert not [name for name in held if not name.startswith(("socket:[", "/dev/null", "/memfd:"))]
    for key in keys:
        assert len(key) == KEY_BYTES
        for spelling in _spellings(key):
            assert spelling not in watched.sent
    assert str(tmp_path).encode() not in watched.sent
    assert b"ships carried grain" in watched.sent, "the wire was looked at"


def _keep(session: Session, conversation: ConversationId, prompt_tokens: int) -> bytes:
    """Seal what the worker holds; the key of it."""
    state = PromptStates(session.line.supervisor).save(conversation, 2 * prompt_tokens, 2**30)
    assert state is not None
    session.files.make_room(conversation, state.state_bytes)
    session.files.keep(conversation, state, session.cache._binding(), 1)
    os.close(state.descriptor)
    with session.database.reading() as sql:
        (key,) = sql.execute("SELECT key FROM prompt_states").fetchone()
    return bytes(key)


def test_the_broker_hands_a_worker_its_channel_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    started = []

    class Process:
        pid = os.getpid()

        def __init__(self, command: list[str], **given: object) -> None:
            inherited = given["pass_fds"]
            assert isinstance(inherited, tuple)
            names = [str(Path(f"/proc/self/fd/{number}").readlink()) for number in inherited]
            started.append((command, given, names))

    monkeypatch.setattr(broker_module.subprocess, "Popen", Process)
    secret = "an-unlocked-key"
    ours, theirs = pair()
    launch = Launch(
        Front.TERMINAL,
        (secret,),
        {"PATH": "/bin", "HOME": f"/home/{secret}", "GOVDESK_KEY": secret},
        "/audit",
    )
    broker = Broker(launch, None)
    told = []
    monkeypatch.setattr(broker, "_tell", lambda _session, frame, sent=(): told.append((frame, len(sent))))
    broker._start_worker(None, "")  # type: ignore[arg-type]
    [(command, given, names)] = started
    assert len(names) == 1 and names[0].startswith("socket:[")
    assert given.get("close_fds", True) is True
    assert {given[stream] for stream in ("stdin", "stdout", "stderr")} == {subprocess.DEVNULL}
    assert secret not in repr(command) + repr(given["env"])
    assert [count for _, count in told] == [1]
    ours.close()
    theirs.close()
    os.close(broker._worker_pidfd or -1)


def test_a_memfd_is_told_from_a_file(watched: Wire, tmp_path: Path) -> None:
    """What the test above looks at is what it says."""
    ours, theirs = pair()
    one, other = Channel(ours, ToWorker), Channel(theirs, ToWorker)
    memory = new_memfd(10)
    with (tmp_path / "key").open("wb") as file:
        for descriptor in (memory, file.fileno()):
            one.send(WriteState(conversation="c"), (descriptor,))
            received = other.receive(5)
            assert received is not None
            os.close(received[1][0])
    os.close(memory)
    assert [(name.startswith("/memfd:"), seals) for _, name, seals in watched.descriptors] == [
        (True, OF_FIXED_SIZE),
        (False, 0),
    ]
    one.close()
    other.close()
