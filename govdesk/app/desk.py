"""The session's objects, each built once and introduced to the others. Implements the fronts' `Desk`."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path

from govdesk.app import models, new_profile, prompt_cache
from govdesk.app.preferences import Preferences
from govdesk.app.rules import build_redactor, load_policy
from govdesk.audit import tail
from govdesk.audit.client import AuditClient
from govdesk.chat.drafts import RedactedDrafts
from govdesk.chat.history import AuditedHistory
from govdesk.chat.ports import AuditLog, Clock
from govdesk.chat.reading_ahead import ReadingAhead
from govdesk.chat.recording import recorded
from govdesk.chat.service import ChatService
from govdesk.cli.desk import Unlocked
from govdesk.config import Profile
from govdesk.domain.frames import Probe
from govdesk.domain.ids import ModelDigest, RecordSeq, TurnId
from govdesk.domain.inference import ComputeCheck
from govdesk.domain.models import Models
from govdesk.domain.record import Entry, Event
from govdesk.domain.turn import ModelInfo, Outcome
from govdesk.errors import AuditClosedError, GovDeskError, KnownError, UnreadableError
from govdesk.inference import computing, graphics_words, processor, threads
from govdesk.inference.graphics import Graphics
from govdesk.inference.plan import default_plan
from govdesk.inference.supervisor import Supervisor
from govdesk.inference.tuner import Tuner
from govdesk.inference.tuning import Tunings
from govdesk.policy.decisions import Decider
from govdesk.process.link import BrokerLink
from govdesk.sandbox import selftest
from govdesk.session import passphrase as passphrase_rules
from govdesk.session.key_slots import KeySlots
from govdesk.session.keys import DataKeys, Purpose
from govdesk.session.state import LockReason, Session, SessionState
from govdesk.storage.conversations import EncryptedConversations
from govdesk.storage.database import Database
from govdesk.storage.drafts import EncryptedDrafts

_RAISE_SECONDS = 0.25
_AUDIT_SECONDS = 0.25
"""How often it is looked whether the audit writer is still there while nothing is recorded."""
_CLEAN_SECONDS = 1.0
_AGAIN_SECONDS = 60.0
"""How often it is looked whether a deletion left traces; and how long it rests after a try."""


class SessionDesk:
    """Built by `app.session` behind its walls; locked until `unlock`.

    Args:
        profile: the profile's paths.
        link: to the broker.
        audit: to the audit writer; not opened yet.
        clock: time.
        probes: what this process's self-test found.
        broker_probes: what the broker's found.
        key_slots: makes the key slots of a file; quicker ones in tests only.
    """

    def __init__(
        self,
        *,
        profile: Profile,
        link: BrokerLink,
        audit: AuditClient,
        clock: Clock,
        probes: tuple[Probe, ...],
        broker_probes: tuple[Probe, ...],
        key_slots: Callable[[Path], KeySlots] = KeySlots,
    ) -> None:
        self.profile = profile
        self._key_slots = key_slots
        self._link = link
        self._audit = audit
        self._clock = clock
        self._own_probes = probes
        self._broker_probes = broker_probes
        self._writer_probes: tuple[Probe, ...] = ()
        self.policy, self.policy_problem = load_policy()
        self.redactor = build_redactor(self.policy)
        self._shelf = models.shelf(profile, self.policy, lambda: self._inference.held)
        self._closing = threading.Event()
        self._tunings = Tunings(profile.tuning, processor.read())
        self._graphics = Graphics(self.policy.policy.inference.gpu, profile.graphics)
        self._preferences = Preferences(profile.preferences)
        self._inference = Supervisor(
            link,
            self._shelf.choose,
            self._audit.append,
            selftest.require_closed,
            plan=lambda manifest, facts: default_plan(manifest, facts, self._preferences.kv),
            tuned=self._tunings.threads,
            graphics=self._graphics,
            find_draft=self._shelf.draft_for,
        )
        self._keys: DataKeys | None = None
        self._database: Database | None = None
        self._cache: prompt_cache.PromptCache | None = None
        self._session = Session(self.policy.policy.session.idle_lock_seconds, clock.monotonic)
        self._started = False
        self._front = ""
        self._ended_turns: dict[TurnId, tuple[str, RecordSeq]] = {}

    # ── start and end ────────────────────────────────────────────────────────

    def start(self, front: str, version: str) -> None:
        """Open the log; record the start, what the self-test found, and the policy in force."""
        self._front = front
        self._writer_probes = self._audit.open(self.policy.policy.audit.officers).probes
        turns = tail.recent_turns(self.profile.audit)  # after the writer put the log's end in order
        self._started = True
        self._record(Event.APP_START, "success", front, {"version": version})
        self._record_probes("broker", self._broker_probes)
        self._record_probes(front, self._own_probes)
        self._record_probes("auditd", self._writer_probes)
        selftest.require_closed(self._writer_probes)
        self._record(
            Event.POLICY_LOAD,
            "failure" if self.policy_problem else "success",
            self.policy.policy.id,
            {"source": self.policy.source.value, "version": self.policy.policy.version},
        )
        self._ended_turns = dict(turns.ended)
        for turn in turns.open:  # what a crash left: its one outcome, before anything else can happen
            seq = self._record(Event.TURN_OUTCOME, Outcome.INTERRUPTED.value, turn)
            self._ended_turns[turn] = (Outcome.INTERRUPTED.value, seq)

    def sealed(self, probes: tuple[Probe, ...]) -> None:
        """The second stage of the window's walls is up."""
        self._own_probes = probes
        self._record_probes("window, sealed", probes)

    def close(self) -> None:
        """Wipe keys, close history, stop the worker, record the end; what is closed already is fine."""
        self._closing.set()
        self._session.lock(LockReason.QUIT)
        if self._cache is not None:
            self._cache.close()
        self._inference.stop()
        self._forget()
        if self._session.state is SessionState.LOCKING:
            self._session.locked()
        if self._started:
            with contextlib.suppress(KnownError):
                self._record(Event.APP_STOP, "success", "")

    # ── what the fronts ask ──────────────────────────────────────────────────

    @property
    def audit(self) -> AuditLog:
        """The log."""
        return self._audit

    @property
    def probes(self) -> tuple[Probe, ...]:
        """What the self-tests found so far, of this process and of the worker: `worker.tcp4` and so on."""
        return (
            *_named("broker", self._broker_probes),
            *_named(self._front, self._own_probes),
            *_named("auditd", self._writer_probes),
            *_named("worker", self._inference.probes),
        )

    @property
    def profile_exists(self) -> bool:
        """False before the first run's set-up."""
        return self.profile.exists

    @property
    def profile_problem(self) -> GovDeskError | None:
        """A history whose keys are missing, say; None when set-up or unlocking can go on."""
        return new_profile.problem(self.profile)

    @property
    def models(self) -> Models:
        """The models of this workstation."""
        return models.RecordedModels(
            self._shelf, self._audit, self.policy, self._digest_in_use, self._preferences
        )

    @property
    def runs_on(self) -> str:
        """What the model computes on, in words."""
        tuned = self._tunings.threads(ModelDigest(self._digest_in_use()))
        return graphics_words.runs_on(
            self._graphics, tuned.threads if tuned else threads.choose(self._tunings.processor).decode
        )

    def graphics_findings(self) -> tuple[ComputeCheck, ...]:
        """Why a graphics card is used or not."""
        return graphics_words.findings(self._graphics)

    def computing_findings(self) -> tuple[ComputeCheck, ...]:
        """What the loaded model is computed with."""
        return computing.findings(self._inference.computing)

    def model(self) -> ModelInfo:
        """The model that answers, loaded."""
        return self._inference.model()

    def record_consent(self, how: str) -> None:
        """Record that the consent text was accepted, and how; nothing unlocks before."""
        self._session.ask_consent()
        self._record(Event.CONSENT, "success", "", {"how": how})
        self._session.accept_consent()

    def passphrase_problem(self, passphrase: str) -> str:
        """Why a passphrase cannot be chosen; empty when it can."""
        minimum = self.policy.policy.session.minimum_passphrase_characters
        return " ".join(passphrase_rules.objections(passphrase, minimum))

    def create_profile(self, passphrase: str) -> str:
        """Make keys and database; returns the recovery code, to be shown once."""
        minimum = self.policy.policy.session.minimum_passphrase_characters
        passphrase_rules.require_good(passphrase, minimum)
        with recorded(self._audit, self._entry(Event.PROFILE_INIT, "intent", "")):
            return new_profile.create(self.profile, passphrase, self._key_slots)

    def unlock(self, passphrase: str) -> Unlocked:
        """Open history with a passphrase."""
        return self._unlock("passphrase", lambda: self._key_slots(self.profile.key_slots).unlock(passphrase))

    def unlock_with_recovery(self, code: str) -> Unlocked:
        """Open history with the recovery code."""
        return self._unlock(
            "recovery code", lambda: self._key_slots(self.profile.key_slots).unlock_with_recovery(code)
        )

    def reset_passphrase(self, code: str, new: str) -> None:
        """Put a new passphrase in place of a forgotten one, opened by the recovery code."""
        minimum = self.policy.policy.session.minimum_passphrase_characters
        passphrase_rules.require_good(new, minimum)
        with recorded(self._audit, self._entry(Event.KEY_RESET, "intent", "")):
            self._key_slots(self.profile.key_slots).reset_passphrase(code, new)

    def touch(self) -> bool:
        """The person did something: the idle time starts again, unless it was over."""
        return self._session.touch()

    @property
    def idle_over(self) -> bool:
        """True once the idle time is over."""
        return self._session.state is SessionState.LOCKING

    def lock(self) -> None:
        """Tell the broker to start a fresh, locked window, and record it; this process ends right after."""
        self._session.lock(LockReason.PERSON)  # changes nothing when the idle time locked it
        reason = self._session.lock_reason or LockReason.PERSON
        with contextlib.suppress(OSError):
            self._link.lock()  # first: from now on the broker ends this process if it does not end itself
        with contextlib.suppress(KnownError):
            self._record(Event.LOCK, "success", "", {"reason": reason.value})

    def on_raise(self, raise_window: Callable[[], None]) -> None:
        """Call back, from a thread of its own, when GovDesk was started a second time."""

        def watch() -> None:
            while not self._closing.wait(_RAISE_SECONDS):
                if self._link.raise_asked():
                    raise_window()

        threading.Thread(target=watch, name="raise", daemon=True).start()

    # ── inside ───────────────────────────────────────────────────────────────

    def _unlock(self, how: str, open_slot: Callable[[], DataKeys]) -> Unlocked:
        """Keys, history, the record, and only then what works on it; any failure leaves none of them."""
        self._session.begin_unlock()
        try:
            keys = self._keys = open_slot()
            with keys[Purpose.DATABASE].use() as key:
                database = self._database = Database.open(self.profile.database, key)
            unlocked = self._introduce(database)
            if self._session.state is not SessionState.UNLOCKING:
                raise UnreadableError("GovDesk is ending.", code="unlock.ended", kept="Nothing was changed.")
            self._record(Event.UNLOCK, "success", "", {"how": how})
            self._session.unlock_succeeded()
        except BaseException as error:
            try:
                self._forget()
            finally:
                if self._session.state is SessionState.UNLOCKING:  # not when the session ends meanwhile
                    self._session.unlock_failed()
            code = error.code if isinstance(error, GovDeskError) else "bug"
            with contextlib.suppress(AuditClosedError):
                self._record(Event.UNLOCK, "failure", "", {"how": how, "code": code})
            raise
        if self._cache is not None:
            self._cache.begin()
        threading.Thread(target=self._watch_audit, name="audit", daemon=True).start()
        tuner = Tuner(self._inference, self._tunings, self._closing)
        threading.Thread(target=tuner.run, name="tune", daemon=True).start()
        threading.Thread(target=self._clean, args=(database,), name="clean", daemon=True).start()
        return unlocked

    def _watch_audit(self) -> None:
        """A turn looks at each of its events; while a long prompt is read there are none for seconds."""
        while not self._closing.wait(_AUDIT_SECONDS):
            try:
                self._audit.require_open()
            except AuditClosedError:
                self._inference.cancel()
                self._inference.stop_reading()

    def _clean(self, database: Database) -> None:
        """What deletions left leaves the file while no turn runs; on record when done, and when it cannot."""
        store = EncryptedConversations(database)
        pause = _CLEAN_SECONDS
        while not self._closing.wait(pause):
            pause = _CLEAN_SECONDS
            if not database.compact_wanted:
                continue
            code = ""
            try:
                if store.unfinished_turns():
                    continue
                pause = _AGAIN_SECONDS
                if not database.compact_if_due():
                    continue
            except GovDeskError as error:
                pause, code = _AGAIN_SECONDS, error.code
            if not self._closing.is_set():
                with contextlib.suppress(AuditClosedError):
                    outcome = "failure" if code else "success"
                    self._record(Event.HISTORY_CLEAN, outcome, "", {"code": code} if code else None)

    def _introduce(self, database: Database) -> Unlocked:
        """What works on an open history; turns that a crash left open get their one outcome first."""
        store = EncryptedConversations(database)
        system_high = self.policy.policy.system_high
        cache = prompt_cache.for_session(
            self._inference, database, self.profile, self._audit, self._clock, self.policy
        )
        chat = ChatService(
            audit=self._audit,
            decider=Decider(self.policy),
            redactor=self.redactor,
            inference=cache,
            store=store,
            clock=self._clock,
            marking=system_high,
            policy_stamp=self.policy.stamp,
        )
        chat.recover(self._ended_turns)
        drafts = RedactedDrafts(
            store=EncryptedDrafts(database),
            redactor=self.redactor,
            audit=self._audit,
            clock=self._clock,
            marking=system_high,
            policy_stamp=self.policy.stamp,
        )
        ahead = ReadingAhead(
            audit=self._audit,
            decider=Decider(self.policy),
            redactor=self.redactor,
            inference=cache,
            store=store,
            clock=self._clock,
            marking=system_high,
            policy_stamp=self.policy.stamp,
            allowed=self.policy.policy.inference.read_ahead,
        )
        self._cache = cache
        history = AuditedHistory(store, self._audit, system_high, self.policy.stamp, cache.deleted)
        return Unlocked(history, chat, drafts, ahead)

    def _digest_in_use(self) -> str:
        loaded = self._inference.model_loaded()
        return loaded.digest if loaded else ""

    def _forget(self) -> None:
        """Close history and wipe keys, as far as there are any; the keys even when closing fails."""
        database, keys = self._database, self._keys
        self._database = self._keys = self._cache = None
        try:
            if database is not None:
                database.close()
        finally:
            if keys is not None:
                keys.wipe()

    def _record_probes(self, where: str, probes: tuple[Probe, ...]) -> None:
        channels = {probe.channel: int(probe.blocked) for probe in probes}
        outcome = "success" if all(channels.values()) else "failure"
        self._record(Event.SELF_TEST, outcome, where, {"channels": channels})

    def _record(
        self,
        event: Event,
        outcome: str,
        what: str,
        fields: dict[str, str | bool | int | dict[str, int] | None] | None = None,
    ) -> RecordSeq:
        return self._audit.append(self._entry(event, outcome, what, fields))

    def _entry(
        self,
        event: Event,
        outcome: str,
        what: str,
        fields: dict[str, str | bool | int | dict[str, int] | None] | None = None,
    ) -> Entry:
        return Entry(
            event=event,
            outcome=outcome,
            object=what,
            marking=self.policy.policy.system_high,
            policy=self.policy.stamp,
            fields=fields or {},
        )


def _named(process: str, probes: tuple[Probe, ...]) -> tuple[Probe, ...]:
    return tuple(
        Probe(channel=f"{process}.{probe.channel}", blocked=probe.blocked, found=probe.found)
        for probe in probes
    )
