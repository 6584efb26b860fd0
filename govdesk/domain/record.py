"""What an audit record says. Clear fields carry ids, counts, hashes and markings only."""

from __future__ import annotations

from enum import Enum

import msgspec


class Event(Enum):
    """What happened. The catalogue grows; a name never changes its meaning."""

    LOG_START = "log.start"
    LOG_RECOVERED = "log.recovered"
    AUDIT_FAILURE = "audit.failure"
    APP_START = "app.start"
    APP_STOP = "app.stop"
    SELF_TEST = "self-test"
    POLICY_LOAD = "policy.load"
    CONSENT = "consent"
    PROFILE_INIT = "profile.init"
    UNLOCK = "unlock"
    KEY_RESET = "key.reset"
    LOCK = "lock"
    MODEL_LOAD = "model.load"
    MODEL_IMPORT = "model.import"
    MODEL_VERIFY = "model.verify"
    MODEL_REMOVE = "model.remove"
    MODEL_REFUSE = "model.refuse"
    WORKER_FAILURE = "worker.failure"
    TURN_INTENT = "turn.intent"
    TURN_OUTCOME = "turn.outcome"
    VIEW = "view"
    SEARCH = "search"
    REDACT = "redact"
    RENAME = "rename"
    DELETE = "delete"
    HISTORY_CLEAN = "history.clean"
    STATE_SAVE = "state.save"
    STATE_RESTORE = "state.restore"
    STATE_FORGET = "state.forget"
    DRAFT_KEEP = "draft.keep"
    DRAFT_READ = "draft.read"


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a session asks the writer to record; the writer adds who, when, where, chain and MAC.

    `fields` hold strings, booleans, null, integers below 2**53 and flat maps of string to integer,
    never content. `outcome` is `intent` (before an action), `success`, `failure` or an `Outcome` value.
    """

    event: Event
    outcome: str
    object: str = ""
    marking: str = ""
    policy: str = ""
    model: str = ""
    fields: dict[str, str | bool | int | dict[str, int] | None] = {}
