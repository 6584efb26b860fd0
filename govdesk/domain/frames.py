"""What GovDesk's processes say to each other: one closed set of tagged values per channel and direction.

Failures cross as codes; the trusted side owns the words that people see. Everything that comes
from the worker is untrusted until `govdesk.wire` has decoded it into these values, and its text
stays untrusted after that.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Literal

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
Bytes = Annotated[int, Meta(ge=0, le=2**48)]
Threads = Annotated[int, Meta(ge=0, le=1024)]
GpuBackend = Literal["", "cuda", "vulkan"]
"""Empty: none, the processor alone."""
GPU_BACKENDS: tuple[GpuBackend, ...] = ("cuda", "vulkan")
"""The graphics backends there are, the faster first."""
MAX_DEVICES = 16
MAX_FEATURES = 64
FlashAttention = Literal["", "on", "off", "auto"]
"""`auto`: asked for where it can be had, and the library did not say what came of it."""


class _Frame(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag=True):
    """Base of all frames: tagged by class name, frozen, unknown keys refused."""


# ── both: what a role found when it tried the walls ──────────────────────────


class Probe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One channel tried by the self-test. `found` is the errno's name, or `open`."""

    channel: Name
    blocked: bool
    found: Name


class DeviceKind(Enum):
    """Whose memory a graphics device computes in."""

    GPU = "gpu"
    INTEGRATED = "integrated"
    """The machine's own: what it holds is missing elsewhere."""


class Device(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A graphics device as the worker's library sees it. `name` is the library's, `title` for people."""

    name: Name
    title: Name
    kind: DeviceKind
    backend: Name
    memory_bytes: Bytes
    free_bytes: Bytes


# ── session process ⇄ worker ─────────────────────────────────────────────────


class LoadModel(_Frame, frozen=True):
    """Load the model whose descriptors, one per file in order, ride on this frame (SCM_RIGHTS).

    `batch_threads` 0: as many as `threads`. `kv`: how keys and values are kept. `template`: the manifest's
    own, in place of the file's. `weights`: the descriptors' own pages, mapped, or a copy in the worker's
    memory, which is faster. `aside_bytes`: for conversations that the context has no place for.
    `device_layers`: how many of the last layers, the output among them, go to each of `devices`.
    `draft_files`: so many of the descriptors, the last ones, are those of a small model that proposes.
    """

    context_tokens: int
    threads: int
    batch_threads: int = 0
    batch_tokens: int = 512
    micro_batch_tokens: int = 512
    aside_bytes: int = 256 * 1024 * 1024
    weights: Literal["mapped", "own"] = "mapped"
    draft_files: int = 0
    kv: Literal["f16", "q8_0"] = "f16"
    template: str = ""
    devices: tuple[str, ...] = ()
    device_layers: tuple[int, ...] = ()


class ListDevices(_Frame, frozen=True):
    """Load the graphics backend that this worker was started for and list its devices.

    `compute`: only those that multiply two matrices right. Answered by `Devices`; before `LoadModel`.
    """

    compute: bool = False


class ChatMessage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One message of the history. `role` is `system`, `user` or `assistant`."""

    role: str
    text: str


class Generate(_Frame, frozen=True):
    """Answer a history that ends with the user's message.

    `conversation` says whose history it is, for what was read before; empty: nobody's. `grammar` is GBNF.
    `repeats`: with this seed the same answer is to come again.
    """

    turn: str
    messages: tuple[ChatMessage, ...]
    max_tokens: int
    temperature: float
    top_p: float
    top_k: int
    repeat_penalty: float
    seed: int
    conversation: str = ""
    min_p: float = 0.0
    grammar: str = ""
    repeats: bool = True
    speculate: bool = True


class ReadAhead(_Frame, frozen=True):
    """Read what is certain of the next prompt, at low priority: this history, whose last text may grow.

    Answered by `PromptProgress`, then `ReadDone`; a `Cancel` of the same turn id stops it, and what was
    read so far stays read.
    """

    turn: str
    conversation: str
    messages: tuple[ChatMessage, ...]


class CountTokens(_Frame, frozen=True):
    """How many tokens is this history as a prompt? Answered by `Counted`. Nothing is computed with it."""

    turn: str
    messages: tuple[ChatMessage, ...]


class SaveState(_Frame, frozen=True):
    """How large is what was read of this conversation? Answered by `StateSize`."""

    conversation: str


class WriteState(_Frame, frozen=True):
    """Write it into the memfd on this frame, of the size that was answered. Answered by `StateWritten`."""

    conversation: str


class RestoreState(_Frame, frozen=True):
    """Take what was read of it from the sealed memfd on this frame. Answered by `StateRestored`."""

    conversation: str


class ForgetState(_Frame, frozen=True):
    """Drop what was read of this conversation: it was deleted, or its marking, policy or person changed."""

    conversation: str


class SetThreads(_Frame, frozen=True):
    """From the next prompt on, compute with so many threads."""

    threads: int
    batch_threads: int


class Tune(_Frame, frozen=True):
    """Try these numbers of threads on made-up tokens; no text of anybody is used.

    For so many milliseconds; a model that cannot try all of them once in that time gets longer (bounded).
    At low priority as `ReadAhead`: a `Cancel` of the same turn id, or any other order, stops it. Answered by
    `Tuned`. What the context holds is set aside meanwhile.
    """

    turn: str
    threads: tuple[int, ...]
    batch_threads: tuple[int, ...]
    milliseconds: int


class Cancel(_Frame, frozen=True):
    """Stop the running answer."""

    turn: str


class Shutdown(_Frame, frozen=True):
    """End the process: the first step of the stop ladder."""


ToWorker = (
    LoadModel
    | ListDevices
    | Generate
    | ReadAhead
    | CountTokens
    | SaveState
    | WriteState
    | RestoreState
    | ForgetState
    | SetThreads
    | Tune
    | Cancel
    | Shutdown
)


class WorkerHello(_Frame, frozen=True):
    """First frame of every worker, after its walls went up."""

    probes: Annotated[tuple[Probe, ...], Meta(max_length=64)]


class Loaded(_Frame, frozen=True):
    """The model is ready, with a context of so many tokens."""

    context_tokens: Annotated[int, Meta(ge=1, le=MAX_TOKENS)]
    template_sha384: Digest
    processor: Name = ""
    """Which of the library's processor variants computes; `native`: the one it was built with."""
    features: Annotated[tuple[Name, ...], Meta(max_length=MAX_FEATURES)] = ()
    """Of the processor, that this variant uses."""
    flash_attention: FlashAttention = ""
    draft: Name = ""
    """What became of the small model that proposes: `used`, or the code of why not; empty: none."""


class Devices(_Frame, frozen=True):
    """The graphics devices. `code` says why there is none: the backend is missing, or was refused."""

    devices: Annotated[tuple[Device, ...], Meta(max_length=MAX_DEVICES)]
    code: Name = ""


class LoadFailed(_Frame, frozen=True):
    """The library refused the model."""

    code: Name


class PromptProgress(_Frame, frozen=True):
    """Prompt tokens read so far. `threads` of `most_threads` read, when others need the rest; else 0 of 0."""

    turn: Name
    done_tokens: Tokens
    total_tokens: Tokens
    threads: Threads = 0
    most_threads: Threads = 0


class AnswerPiece(_Frame, frozen=True):
    """A part of the answer; whole characters, never half of one. `thinking`: before the answer proper."""

    turn: Name
    text: PieceText
    tokens: Tokens
    thinking: bool = False


class AnswerDone(_Frame, frozen=True):
    """The answer ended. `reason` is `end`, `length` or `cancelled`.

    `threads`: the fewest of `most_threads` that it was made with, when others needed the rest; else 0 of 0.
    """

    turn: Name
    reason: Name
    prompt_tokens: Tokens
    read_tokens: Tokens
    answer_tokens: Tokens
    threads: Threads = 0
    most_threads: Threads = 0


class AnswerFailed(_Frame, frozen=True):
    """The answer could not be made; the worker is still well.

    `context_tokens` explains `context.full`; `estimated`: `prompt_tokens` was not counted to the end.
    """

    turn: Name
    code: Name
    prompt_tokens: Tokens = 0
    context_tokens: Tokens = 0
    estimated: bool = False


class ReadDone(_Frame, frozen=True):
    """Reading ahead ended: `reused_tokens` were read before, `read_tokens` now.

    `prompt_tokens` are those of the whole prompt, as if it were sent now. `code` as in `AnswerFailed`, or
    empty; `estimated`: the tokens were not counted to the end.
    """

    turn: Name
    prompt_tokens: Tokens
    reused_tokens: Tokens
    read_tokens: Tokens
    code: Name = ""
    estimated: bool = False


class Counted(_Frame, frozen=True):
    """So many tokens; `estimated`: not counted to the end. `code` as in `AnswerFailed`, or empty."""

    turn: Name
    prompt_tokens: Tokens
    estimated: bool = False
    code: Name = ""


class Timing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one token took with so many threads, at best; `reading`: many tokens at once."""

    reading: bool
    threads: Annotated[int, Meta(ge=1, le=1024)]
    token_microseconds: Annotated[int, Meta(ge=1, le=2**40)]


class Tuned(_Frame, frozen=True):
    """What was measured; `complete`: everything that was asked for, once at least.

    `interrupted`: something else was wanted, or there was no memory to set aside what the context holds.
    `others_percent` is how much of one processor others used meanwhile.
    """

    turn: Name
    timings: Annotated[tuple[Timing, ...], Meta(max_length=64)]
    complete: bool
    others_percent: Annotated[int, Meta(ge=0, le=1_000_000)]
    interrupted: bool = False


class StateSize(_Frame, frozen=True):
    """What was read of a conversation: `tokens`, and the bytes its state takes; 0 and 0 when nothing was."""

    conversation: Name
    tokens: Tokens
    state_bytes: Annotated[int, Meta(ge=0, le=2**40)]


class StateWritten(_Frame, frozen=True):
    """The state is in the memfd: so many bytes of it. 0: it could not be written."""

    conversation: Name
    state_bytes: Annotated[int, Meta(ge=0, le=2**40)]


class StateRestored(_Frame, frozen=True):
    """So many tokens need not be read again. 0: the state was refused, and nothing of it is used."""

    conversation: Name
    tokens: Tokens


FromWorker = (
    WorkerHello
    | Devices
    | Loaded
    | LoadFailed
    | PromptProgress
    | AnswerPiece
    | AnswerDone
    | AnswerFailed
    | ReadDone
    | Counted
    | Tuned
    | StateSize
    | StateWritten
    | StateRestored
)


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
    """Start a worker (stopping the old one); its channel comes back with `WorkerStarted`.

    `gpu`: the graphics backend whose devices its walls leave open, or empty for none.
    """

    gpu: GpuBackend = ""


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


WORKER_OUT_OF_MEMORY = 6
"""The exit code of a worker that got no more memory."""


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
