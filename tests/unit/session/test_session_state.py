"""There is one legal way through a session, and idle time cannot be given back."""

import itertools

import pytest

from govdesk.errors import BugError
from govdesk.session.state import LockReason, Session, SessionState

CALLS = ("ask_consent", "accept_consent", "begin_unlock", "unlock_failed", "unlock_succeeded", "locked")


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def session(clock):
    return Session(900, clock)


def unlock(session):
    session.ask_consent()
    session.accept_consent()
    session.begin_unlock()
    session.unlock_succeeded()


def test_the_whole_way(session):
    assert session.state is SessionState.LOCKED
    session.ask_consent()
    assert session.state is SessionState.CONSENT
    session.accept_consent()
    assert session.state is SessionState.LOCKED
    session.begin_unlock()
    assert session.state is SessionState.UNLOCKING
    session.unlock_failed()
    assert session.state is SessionState.LOCKED
    session.begin_unlock()
    session.unlock_succeeded()
    assert session.state is SessionState.UNLOCKED
    assert session.lock(LockReason.PERSON) is True
    assert session.lock(LockReason.SUSPEND) is False
    assert session.state is SessionState.LOCKING
    assert session.lock_reason is LockReason.PERSON
    session.locked()
    assert session.state is SessionState.LOCKED
    assert not session.consented


def test_no_unlock_without_consent(session):
    with pytest.raises(BugError):
        session.begin_unlock()
    session.ask_consent()
    with pytest.raises(BugError):
        session.begin_unlock()
    assert session.state is SessionState.CONSENT


def test_consent_is_asked_again_after_locking(session):
    unlock(session)
    session.lock(LockReason.DESKTOP)
    session.locked()
    with pytest.raises(BugError):
        session.begin_unlock()


def test_no_sequence_of_calls_reaches_unlocked_another_way():
    """All sequences of up to 5 calls: UNLOCKED only as ask+, accept, begin, succeed."""
    reached = set()
    for length in range(1, 6):
        for calls in itertools.product(CALLS, repeat=length):
            session = Session(900, Clock())
            try:
                for call in calls:
                    getattr(session, call)()
            except BugError:
                continue
            if session.state is SessionState.UNLOCKED:
                reached.add(calls)
    way = ("ask_consent", "accept_consent", "begin_unlock", "unlock_succeeded")
    assert reached == {way, ("ask_consent", *way)}


def test_idle_locks_on_the_second(session, clock):
    unlock(session)
    clock.now += 899.9
    assert session.state is SessionState.UNLOCKED
    assert session.idle_seconds_left == pytest.approx(0.1)
    clock.now += 0.1
    assert session.state is SessionState.LOCKING
    assert session.lock_reason is LockReason.IDLE
    assert session.idle_seconds_left == 0


def test_touch_starts_the_time_again(session, clock):
    unlock(session)
    for _ in range(10):
        clock.now += 800
        assert session.touch() is True
    assert session.state is SessionState.UNLOCKED
    clock.now += 900
    assert session.touch() is False, "a touch after the deadline does not bring the session back"
    assert session.state is SessionState.LOCKING


def test_a_clock_set_back_gives_no_time(session, clock):
    unlock(session)
    clock.now += 600
    assert session.idle_seconds_left == 300
    clock.now -= 10_000
    assert session.idle_seconds_left == 300
    assert session.touch() is True
    assert session.idle_seconds_left == 900
    clock.now += 10_000 + 900
    assert session.state is SessionState.LOCKING


def test_lock_ends_consent_and_unlocking_too(session):
    session.ask_consent()
    assert session.lock(LockReason.QUIT) is True
    session.locked()
    session.ask_consent()
    session.accept_consent()
    session.begin_unlock()
    assert session.lock(LockReason.SUSPEND) is True
    with pytest.raises(BugError):
        session.unlock_succeeded()
    assert session.state is SessionState.LOCKING


def test_locked_stays_locked(session):
    assert session.lock(LockReason.PERSON) is False
    assert session.touch() is False
    assert session.state is SessionState.LOCKED


def test_an_idle_time_is_needed(clock):
    for seconds in (0, -1):
        with pytest.raises(BugError):
            Session(seconds, clock)
