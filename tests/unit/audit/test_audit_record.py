"""Clear fields carry ids, counts, hashes and markings, bounded, and nothing else."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from govdesk.audit import canonical, chain, record
from govdesk.audit.canonical import NotCanonicalError
from govdesk.domain.record import Entry, Event
from tests.audit_logs import Clock, entry

LOG = "0123456789abcdef" * 2


def body(**changes: object) -> dict:
    clock = Clock()
    made = record.unsigned(
        entry(0), log=LOG, seq=7, prev=chain.NO_PREVIOUS, when=clock.when(), where=clock.where, who=clock.who
    )
    return {**made, **changes}


def line(**changes: object) -> bytes:
    return chain.line_of(body(**changes), b"k" * 48)


def test_a_line_reads_back() -> None:
    found, unsigned = record.decode(line())
    assert (found.seq, found.log, found.event, found.note, found.seal) == (7, LOG, "turn.intent", None, None)
    assert unsigned == canonical.encode(body())
    assert chain.mac_fits(found.mac, unsigned, b"k" * 48)
    assert not chain.mac_fits(found.mac, unsigned, b"j" * 48)


def test_names_of_people_need_not_be_ascii() -> None:
    who = {"uid": 1, "name": "Zo\u00eb", "role": "owner", "how": "process"}
    found, unsigned = record.decode(line(who=who))
    assert found.who.name == "Zo\u00eb"
    assert unsigned == canonical.encode(body(who=who))


def test_a_field_named_like_the_mac_does_not_hide_the_mac() -> None:
    fields = {"log": LOG, "mac": "0" * 96}
    found, unsigned = record.decode(line(fields=fields))
    assert unsigned == canonical.encode(body(fields=fields))
    again = line(fields={"log": LOG, "mac": found.mac})
    assert record.decode(again)[1] == canonical.encode(body(fields={"log": LOG, "mac": found.mac}))


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_bytes_crash_it(untrusted: bytes) -> None:
    with pytest.raises(NotCanonicalError):
        record.decode(untrusted)


@given(st.data())
def test_the_fast_way_is_the_slow_way(data: st.DataObject) -> None:
    """What decode accepts of a changed line, canonical.decode accepts too."""
    good = line()
    at = data.draw(st.integers(0, len(good) - 1))
    changed = good[:at] + data.draw(st.binary(max_size=3)) + good[at + data.draw(st.integers(0, 2)) :]
    try:
        record.decode(changed)
    except NotCanonicalError:
        return
    assert canonical.decode(changed)


@pytest.mark.parametrize(
    "changes",
    [
        {"extra": 1}, {"seq": -1}, {"seq": "7"}, {"seq": True}, {"prev": "0" * 95}, {"prev": "G" * 96},
        {"log": "x"}, {"event": "Turn"}, {"outcome": "two words"}, {"object": "x" * 201}, {"object": "a\nb"},
        {"marking": "x" * 1001}, {"fields": {"a": "b" * 201}}, {"fields": {"a": "caf\u00e9"}},
        {"fields": {"a": ["x"]}}, {"fields": {"a": {"b": "c"}}}, {"fields": {"a" * 65: 1}},
        {"fields": {f"a{n}": 1 for n in range(33)}}, {"note": "x"}, {"seal": {}}, {"who": {"uid": 1}},
        {"when": {"utc_ns": "01", "monotonic_ns": "0", "boot_id": ""}},
        {"when": {"utc_ns": "1" * 20, "monotonic_ns": "0", "boot_id": ""}},
        {"when": {"utc_ns": "-1", "monotonic_ns": "0", "boot_id": ""}},
    ],
)  # fmt: skip
def test_other_shapes_are_refused(changes: dict) -> None:
    with pytest.raises(NotCanonicalError):
        record.decode(line(**changes))


def test_a_missing_key_is_refused() -> None:
    for name in body():
        with pytest.raises(NotCanonicalError):
            record.decode(chain.line_of({k: v for k, v in body().items() if k != name}, b"k" * 48))


@pytest.mark.parametrize(
    "bad",
    [
        {"outcome": ""}, {"outcome": "A sentence that somebody wrote"}, {"object": "x" * 201},
        {"marking": "caf\u00e9"}, {"fields": {"prompt": "line one\nline two"}}, {"fields": {"a": 2**53}},
        {"fields": {"a": "\ud800"}}, {"fields": {"": 1}}, {"policy": "\x1b[31m"}, {"model": "m" * 201},
        {"fields": {"a": {"b": -(2**53)}}}, {"fields": {"a": {"b" * 65: 1}}},
    ],
)  # fmt: skip
def test_entries_that_could_carry_content_are_refused(bad: dict) -> None:
    good = Entry(Event.VIEW, "success")
    record.check(good)
    with pytest.raises(record.EntryError) as error:
        record.check(msgspec.structs.replace(good, **bad))
    shown = error.value.explain()
    assert shown.startswith("A record of view")
    assert "sentence" not in shown
    assert "line one" not in shown
