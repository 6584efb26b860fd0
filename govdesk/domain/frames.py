"""What GovDesk's processes say to each other: one closed set of tagged values per channel and direction.

Failures cross as codes; the trusted side owns the words that people see. Everything that comes
from the worker is untrusted until `govdesk.wire` has decoded it into these values, and its text
stays untrusted after that.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from govdesk.domain.record import Entry

# What an untrusted process may say is bounded where it is decoded: nothing larger becomes a value.
MAX_TOKENS = 2**24
"""More tokens than any context holds; far below what a record can carry."""
MAX_PIECE_CHARACTERS = 64 * 1024
Tokens = Annotated[int, Meta(ge=0, le=MAX_TOKENS)]
Name = Annotated[str, Meta(max_length=64)]
"""A turn's id, a code, a reason, a channel: short words, never content."""
Digest = Annotated[str, Meta(max_length=96)]
PieceText = Annotated[str, Meta(min_length=1, max_length=MAX_PIECE_CHARACTERS)]


class _Frame(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag=True):
    """Base of all frames: tagged by class name, frozen, unknown keys refused."""


# ── both: what a role found when it tried the walls ──────────────────────────


class Probe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One channel tried by the self-test. `found` is the errno's name, or `open`."""

    channel: Name
    blocked: bool
    found: Name


# ── session process ⇄ worker ─────────────────────────────────────────────────


class LoadModel(_Frame, frozen=True):
    """Load the model whose descriptor rides on this frame (SCM_RIGHTS)."""

    context_tokens: int
    threads: int
    batch_tokens: int = 512


class ChatMessage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One message of the history. `role` is `system`, `user` or `assistant`."""

    role: str
    text: str


class Generate(_Frame, frozen=True):
    """Answer a history that ends with the user's message."""

    turn: str
    messages: tuple[ChatMessage, ...]
    max_tokens: int
    temperature: float
    top_p: float
    top_k: int
    repeat_penalty: float
    seed: int


class Cancel(_Frame, frozen=True):
    """Stop the running answer."""

    turn: str


class Shutdown(_Frame, frozen=True):
    """End the process: the first step of the stop ladder."""


ToWorker = LoadModel | Generate | Cancel | Shutdown


class WorkerHello(_Frame, frozen=True):
    """First frame of every worker, after its walls went up."""

    probes: Annotated[tuple[Probe, ...], Meta(max_length=64)]


class Loaded(_Frame, frozen=True):
    """The model is ready, with a context of so many tokens."""

    context_tokens: Annotated[int, Meta(ge=1, le=MAX_TOKENS)]
    template_sha384: Digest


class LoadFailed(_Frame, frozen=True):
    """The library refused the model."""

    code: Name


class PromptProgress(_Frame, frozen=True):
    """Prompt tokens read so far."""

    turn: Name
    done_tokens: Tokens
    total_tokens: Tokens


class AnswerPiece(_Frame, frozen=True):
    """A part of the answer; whole characters, never half of one."""

    turn: Name
    text: PieceText
    tokens: Tokens


class AnswerDone(_Frame, frozen=True):
    """The answer ended. `reason` is `end`, `length` or `cancelled`."""

    turn: Name
    reason: Name
    prompt_tokens: Tokens
    read_tokens: Tokens
    answer_tokens: Tokens


class AnswerFailed(_Frame, frozen=True):
    """The answer could not be made; the worker is still well.

    `context_tokens` explains `context.full`; `estimated`: `prompt_tokens` was not counted to the end.
    """

    turn: Name
    code: Name
    prompt_tokens: Tokens = 0
    context_tokens: Tokens = 0
    estimated: bool = False


FromWorker = WorkerHello | Loaded | LoadFailed | PromptProgress | AnswerPiece | AnswerDone | AnswerFailed


# ── session process ⇄ audit writer ───────────────────────────────────────────


class AppendRecord(_Frame, frozen=True):
    """Make this durable."""

    entry: Entry


class OpenLog(_Frame, frozen=True):
    """Open or create the log; `officers` are the PEM keys that a new log's first MAC key is sealed to."""

    officers: tuple[str, ...]


ToAudit = OpenLog | AppendRecord | Shutdown


class LogOpened(_Frame, frozen=True):
    """The log is open for appending."""

    log_id: str
    next_seq: int
    recovered: bool
    probes: tuple[Probe, ...] = ()
    """What the writer's own self-test found."""


class Recorded(_Frame, frozen=True):
    """The record is durable."""

    seq: int
    line_sha384: str


class AuditFailed(_Frame, frozen=True):
    """The writer closed: nothing that needs a record may go on."""

    code: str


FromAudit = LogOpened | Recorded | AuditFailed


# ── session process ⇄ broker ─────────────────────────────────────────────────


class StartWorker(_Frame, frozen=True):
    """Start a worker (stopping the old one); its channel comes back with `WorkerStarted`."""


class StopWorker(_Frame, frozen=True):
    """Stop the worker: terminate, grace, kill. It was asked by `Shutdown` before."""


class LockNow(_Frame, frozen=True):
    """This window process is about to end because the session locks; start a fresh, locked one."""


class Quit(_Frame, frozen=True):
    """This session process is about to end for good, with this exit code: its work is done."""

    exit_code: int


ToBroker = StartWorker | StopWorker | LockNow | Quit


class Welcome(_Frame, frozen=True):
    """First frame to a session process; the audit writer's channel rides on it when `audit` is true."""

    audit: bool
    probes: tuple[Probe, ...] = ()
    """What the broker's self-test found: the session process judges and records it."""


class WorkerStarted(_Frame, frozen=True):
    """A worker runs; its channel rides on this frame."""


class WorkerEnded(_Frame, frozen=True):
    """The worker's process ended. `signal` is 0 for a normal exit."""

    exit_code: int
    signal: int


class AuditEnded(_Frame, frozen=True):
    """The audit writer's process ended, and the worker was stopped. `signal` is 0 for a normal exit."""

    exit_code: int
    signal: int


class Raise(_Frame, frozen=True):
    """Bring the window to the front: somebody started GovDesk again."""


FromBroker = Welcome | WorkerStarted | WorkerEnded | AuditEnded | Raise
