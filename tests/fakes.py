"""Fakes of what the window is given, for tests and pictures only: in memory, scripted."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field, replace

from govdesk.domain.decision import Decision, Deny, Permit
from govdesk.domain.frames import Probe
from govdesk.domain.ids import ConversationId, EntityType, ModelDigest, RecordSeq, TurnId
from govdesk.domain.models import (
    Answers,
    Checked,
    ContextMemory,
    Imported,
    ImportProgress,
    ModelDetails,
    ModelLine,
    ModelList,
    ModelState,
    Place,
    RefusedLine,
    Removed,
    Verified,
    Watch,
    Which,
)
from govdesk.domain.policy import ConsentText, Policy, PolicyInForce, PolicySource
from govdesk.domain.redaction import Finding, Operator
from govdesk.domain.turn import (
    AheadResult,
    Conversation,
    Cut,
    Decided,
    Draft,
    Ended,
    Message,
    ModelInfo,
    OldTurn,
    Outcome,
    Reading,
    Released,
    Role,
    Sampling,
    SearchHit,
    Thinking,
    TooLong,
    TurnEvent,
    Usage,
    WhenFull,
)
from govdesk.errors import GovDeskError, KnownError, WrongPassphraseError
from govdesk.inference import media
from govdesk.session.state import LockReason, Session, SessionState

PASSPHRASE = "correct horse battery staple"
CODE = "7QK4-M2XD-9FTB-W3HN-5RJC-8VPA"
MODEL = ModelInfo("SmolLM2-135M-Instruct Q8_0", ModelDigest("ab" * 48), 8192)
DENY = Deny("pii-block", "The message holds a value that may not be given to a model.")


def finding(kind: str, start: int = 0, end: int = 11, operator: Operator = Operator.REDACT) -> Finding:
    return Finding(start, end, EntityType(kind), 0.99, kind.lower().replace("_", "-"), operator)


def policy(
    system_high: str = "UNCLASSIFIED",
    idle_lock_seconds: int = 900,
    warning: str = "Development policy: not for classified use",
) -> PolicyInForce:
    consent = ConsentText(
        "Notice and consent",
        "You are accessing an information system that is provided for authorised use only.\n\n"
        "By using this system you consent to the following conditions:\n\n"
        "• Your use may be monitored and recorded for security and for investigation.\n"
        "• Questions and answers are redacted, marked and recorded as the policy in force says.\n"
        "• Nothing that is marked above this system's level may be entered.",
    )
    made = Policy(1, "govdesk-development", 3, system_high, consent, {})
    made = Policy(
        **{name: getattr(made, name) for name in made.__struct_fields__ if name != "session"},
        session=type(made.session)(idle_lock_seconds=idle_lock_seconds),
    )
    source = PolicySource.DEVELOPMENT if warning else PolicySource.SITE
    return PolicyInForce(made, source, "cd" * 48, warning)


PROBES = tuple(
    Probe(f"{role}.{channel}", True, found)
    for role in ("window", "worker")
    for channel, found in (
        ("tcp4", "EPERM"),
        ("tcp6", "EPERM"),
        ("udp4", "EPERM"),
        ("udp6", "EPERM"),
        ("raw", "EPERM"),
        ("packet", "EPERM"),
        ("netlink", "EPERM"),
        ("vsock", "EPERM"),
        ("unix", "EPERM"),
        ("io_uring", "ENOSYS"),
        ("name-resolution", "EPERM"),
        ("execve", "EPERM"),
    )
)


class Clock:
    """A clock that the test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class FakeStore:
    """Conversations in memory."""

    def __init__(self) -> None:
        self._conversations: dict[ConversationId, Conversation] = {}
        self._messages: dict[ConversationId, list[Message]] = {}
        self._ids = itertools.count(1)
        self.threads: set[str] = set()
        self.problem: GovDeskError | None = None

    def put(self, title: str, messages: list[tuple[Role, str]] | list[Message], marking: str = "UNCLASSIFIED",
            updated_utc_ns: int | None = None) -> ConversationId:  # fmt: skip
        identity = self.create(title, marking, time.time_ns() if updated_utc_ns is None else updated_utc_ns)
        for at, one in enumerate(messages):
            message = one if isinstance(one, Message) else Message(
                one[0], one[1], TurnId(f"{identity}-t{at // 2}"), time.time_ns(), marking,
                outcome=Outcome.COMPLETED if one[0] is Role.ASSISTANT else None,
            )  # fmt: skip
            self._messages[identity].append(message)
        return identity

    def create(self, title: str, marking: str, now_utc_ns: int) -> ConversationId:
        identity = ConversationId(f"c{next(self._ids)}")
        self._conversations[identity] = Conversation(identity, title, marking, now_utc_ns, now_utc_ns)
        self._messages[identity] = []
        return identity

    def add(self, conversation: ConversationId, message: Message) -> None:
        self._messages[conversation].append(message)

    def conversations(self) -> tuple[Conversation, ...]:
        self._note()
        return tuple(sorted(self._conversations.values(), key=lambda c: c.updated_utc_ns, reverse=True))

    def messages(self, conversation: ConversationId) -> tuple[Message, ...]:
        self._note()
        return tuple(self._messages[conversation])

    def rename(self, conversation: ConversationId, title: str) -> None:
        self._note()
        self._conversations[conversation] = replace(self._conversations[conversation], title=title)

    def delete(self, conversation: ConversationId) -> None:
        self._note()
        del self._conversations[conversation], self._messages[conversation]

    def search(self, query: str, limit: int = 50) -> tuple[SearchHit, ...]:
        self._note()
        hits = []
        for identity, messages in self._messages.items():
            for message in messages:
                at = message.text.lower().find(query.lower())
                if at >= 0:
                    end = at + len(query)
                    text = message.text
                    snippet = f"{text[max(0, at - 30) : at]}\u2068{text[at:end]}\u2069{text[end : end + 60]}"
                    hits.append(SearchHit(self._conversations[identity], message.turn, message.role, snippet))
        return tuple(hits[:limit])

    def _note(self) -> None:
        self.threads.add(threading.current_thread().name)
        if self.problem is not None:
            raise self.problem


@dataclass
class Script:
    """What the next turn does."""

    thinking: tuple[str, ...] = ()
    thinking_findings: tuple[Finding, ...] = ()
    answer: tuple[str, ...] = ("Hello ", "there.")
    decision: Decision = field(default_factory=Permit)
    prompt: str | None = None
    prompt_findings: tuple[Finding, ...] = ()
    answer_findings: tuple[Finding, ...] = ()
    reading: tuple[tuple[int, int], ...] = ((1, 2), (2, 2))
    outcome: Outcome = Outcome.COMPLETED
    explanation: str = ""
    code: str = ""
    before: Exception | None = None
    during: Exception | None = None
    step_seconds: float = 0.0
    wait_for: threading.Event | None = None
    wait_before: threading.Event | None = None
    held: int = 0
    too_long: TooLong | None = None
    stopped_early: bool = False
    threads: tuple[int, int] = (0, 0)
    cut: Cut = field(default_factory=Cut)
    summary: bool = False
    left_out: tuple[OldTurn, ...] = ()
    model: ModelInfo = MODEL


class FakeChat:
    """Runs the script against the store."""

    def __init__(self, store: FakeStore) -> None:
        self._store = store
        self._cancel = threading.Event()
        self._turns = itertools.count(1)
        self.script = Script()
        self.then = Script()
        self.prompts: list[str] = []
        self.samplings: list[Sampling | None] = []
        self.when_full: list[WhenFull] = []
        self.summarised: list[tuple[ConversationId, int]] = []
        self.running = 0

    def cancel(self) -> None:
        self._cancel.set()

    def summarise(self, conversation: ConversationId, oldest: int) -> Generator[TurnEvent, None, None]:
        self.summarised.append((conversation, oldest))
        summary = replace(self.then, cut=Cut(oldest), summary=True)
        self.then = Script()
        return self._play(summary, conversation, "Summarise our conversation so far.")

    def run_turn(
        self,
        conversation: ConversationId | None,
        prompt: str,
        sampling: Sampling | None = None,
        when_full: WhenFull = WhenFull.STOP,
    ) -> Generator[TurnEvent, None, None]:
        self.samplings.append(sampling)
        script, self.script = self.script, Script()
        self.prompts.append(prompt)
        self.when_full.append(when_full)
        if when_full is not WhenFull.STOP:
            script = replace(script, too_long=None)
        return self._play(script, conversation, prompt)

    def _play(
        self, script: Script, conversation: ConversationId | None, prompt: str
    ) -> Generator[TurnEvent, None, None]:
        self._cancel.clear()
        self.running += 1
        try:
            yield from self._run(script, conversation, prompt)
        finally:
            self.running -= 1

    def _run(self, script: Script, conversation: ConversationId | None, prompt: str) -> Iterator[TurnEvent]:
        if script.wait_before is not None:
            script.wait_before.wait(10)
        if script.before is not None:
            raise script.before
        if script.stopped_early:
            yield Ended(
                conversation or ConversationId(""), TurnId("none"), Outcome.CANCELLED, "", (), (), "UNCLASSIFIED",
                None, Usage(), RecordSeq(2), code="cancelled",
            )  # fmt: skip
            return
        if script.too_long is not None:
            yield script.too_long
            yield Ended(
                conversation or ConversationId(""), TurnId("none"), Outcome.FAILED, "", (), (), "UNCLASSIFIED",
                None, Usage(), RecordSeq(2), "It does not fit.", code="context.full",
            )  # fmt: skip
            return
        identity = conversation or self._store.create(prompt[:40], "UNCLASSIFIED", time.time_ns())
        turn = TurnId(f"turn{next(self._turns)}")
        shown = prompt if script.prompt is None else script.prompt
        now = time.time_ns()
        cut = replace(script.cut, summary=turn) if script.summary else script.cut
        self._store.add(identity, Message(Role.USER, shown, turn, now, "U", script.prompt_findings, cut=cut))
        yield Decided(
            identity, turn, script.decision, shown, script.prompt_findings, RecordSeq(1), cut, script.left_out
        )
        outcome, text, thought = script.outcome, "", ""
        usage = Usage()
        if isinstance(script.decision, Deny):
            outcome = Outcome.DENIED
        else:
            for done, total in script.reading:
                yield Reading(done, total, *script.threads)
            for part in script.thinking:
                if self._cancel.is_set():
                    break
                thought += part
                yield Released(part, script.held, thinking=True)
                time.sleep(script.step_seconds)
            for part in script.answer:
                if self._cancel.is_set():
                    break
                text += part
                yield Released(part, script.held)
                time.sleep(script.step_seconds)
            if script.wait_for is not None:
                while not script.wait_for.wait(0.01) and not self._cancel.is_set():
                    pass
            if script.during is not None:
                raise script.during
            if self._cancel.is_set():
                outcome = Outcome.CANCELLED
            if outcome is not Outcome.FAILED:
                usage = Usage(40, 40, 20, 0.4, 1.0, *script.threads)
        thinking = Thinking(thought, script.thinking_findings, 12.0 if thought else 0.0)
        self._store.add(
            identity,
            Message(
                Role.ASSISTANT,
                text,
                turn,
                now,
                "U",
                script.answer_findings,
                outcome,
                script.code,
                script.model,
                usage,
                cut=cut,
                thinking=thinking,
            ),
        )
        why = script.explanation or (script.decision.why if isinstance(script.decision, Deny) else "")
        yield Ended(
            identity, turn, outcome, text, script.prompt_findings, script.answer_findings, "UNCLASSIFIED",
            None if outcome is Outcome.DENIED else script.model, usage, RecordSeq(2), why, cut=cut, thinking=thinking,
            code=script.code,
        )  # fmt: skip


class FakeDrafts:
    """The draft in memory; what `found` has for a text is what redaction finds in it."""

    def __init__(self) -> None:
        self.draft: Draft | None = None
        self.keeps: list[tuple[ConversationId | None, str]] = []
        self.found: dict[str, tuple[str, tuple[Finding, ...]]] = {}
        self.problem: GovDeskError | None = None
        self.threads: set[str] = set()

    def keep(self, conversation: ConversationId | None, text: str) -> Draft:
        self.threads.add(threading.current_thread().name)
        if self.problem is not None:
            raise self.problem
        self.keeps.append((conversation, text))
        kept, findings = self.found.get(text, (text, ()))
        self.draft = Draft(conversation, kept, findings)
        return self.draft

    def kept(self) -> Draft | None:
        self.threads.add(threading.current_thread().name)
        return self.draft


class FakeAhead:
    """Reading ahead that notes what it was asked; `results` are given out in order."""

    def __init__(self) -> None:
        self.reads: list[tuple[ConversationId | None, str]] = []
        self.results: list[AheadResult] = []
        self.stops = 0
        self.problem: GovDeskError | None = None
        self.gate: threading.Event | None = None
        self.threads: set[str] = set()

    def read(self, conversation: ConversationId | None, text: str) -> AheadResult:
        self.threads.add(threading.current_thread().name)
        self.reads.append((conversation, text))
        if self.gate is not None:
            self.gate.wait(10)
        if self.problem is not None:
            raise self.problem
        return self.results.pop(0) if self.results else None

    def stop(self) -> None:
        self.stops += 1
        if self.gate is not None:
            self.gate.set()


@dataclass(frozen=True)
class FakeUnlocked:
    history: FakeStore
    chat: FakeChat
    drafts: FakeDrafts
    ahead: FakeAhead


def model_line(name: str = "smollm2-135m-instruct", **changes: object) -> ModelLine:
    line = ModelLine(
        name=name,
        version=2,
        title="SmolLM2 135M Instruct",
        quantization="Q8_0",
        digest="bf" * 48,
        size_bytes=144_811_072,
        state=ModelState.READY,
        why="",
        format_words="fast here",
        fit_words="",
        imported=False,
        chosen=True,
        answers=Answers.NOW,
        highest_marking="UNCLASSIFIED",
        license="Apache-2.0",
        license_text="models/LICENSES/Apache-2.0.txt",
        provenance="Hugging Face TB, SmolLM2-135M-Instruct; requantized to Q8_0 by GovDesk's set-up.",
        architecture="llama",
        context_tokens=8192,
        roles=("system", "user", "assistant"),
        files=("/usr/share/govdesk/models/smollm2-135m-instruct.gguf",),
        draft="",
    )
    if not changes.get("chosen", True):
        changes.setdefault("answers", Answers.NO)
    return replace(line, **changes)  # type: ignore[arg-type]


class FakeModels:
    """Models whose import is played step by step; `problem` ends it."""

    def __init__(self) -> None:
        self.lines: list[ModelLine] = [model_line()]
        self.refused: list[RefusedLine] = []
        self.steps: tuple[int, ...] = (10, 60, 100)
        self.problem: GovDeskError | None = None
        self.gate: threading.Event | None = None
        self.asked: list[str | Which] = []
        self.not_imported: tuple[str, ...] = ()
        self.memory = ContextMemory(halved=False, possible=True, note="Answers may differ.")
        self.threads: set[str] = set()

    def models(self) -> ModelList:
        self.threads.add(threading.current_thread().name)
        return ModelList(tuple(self.lines), tuple(self.refused), ("Q8_0", "Q4_0", "Q4_K"))

    def model_details(self, which: Which, quantization: str = "") -> ModelDetails:
        self.threads.add(threading.current_thread().name)
        line = next(x for x in self.lines if (x.which, x.quantization) == (which, quantization))
        template = "{% for message in messages %}\n{{ message.content }}\n{% endfor %}"
        return ModelDetails(line, "42" * 48, None, template, True, "", (("architecture", "llama"),))

    def look_into(self, place: str) -> Place:
        self.threads.add(threading.current_thread().name)
        return media.look_into(place)

    def import_model(
        self, place: str, watch: Watch, stopped: Callable[[], bool], quantization: str = ""
    ) -> Imported:
        self.asked.append(place)
        self.threads.add(threading.current_thread().name)
        for step in self.steps:
            watch(ImportProgress("copying", "big-00001-of-00003.gguf", step * 10**7, 10**9, step / 10))
        deadline = time.monotonic() + 10
        while self.gate is not None and not self.gate.is_set() and time.monotonic() < deadline:
            if stopped():
                raise KnownError(
                    "It was stopped.",
                    code="model.import-stopped",
                    kept="What was copied is kept: the same import goes on from there.",
                )
            time.sleep(0.01)
        if self.problem is not None:
            raise self.problem
        line = model_line("big", title="Big model", imported=True, chosen=False, digest="aa" * 48)
        self.lines.append(line)
        return Imported("big", 2, "Big model", (line,), 10**9, ())

    def verify_model(self, which: Which, watch: Watch, stopped: Callable[[], bool]) -> Checked:
        self.asked.append(which)
        self.threads.add(threading.current_thread().name)
        watch(ImportProgress("checking", "x.gguf", 1, 2, 0.1))
        title = next(line.title for line in self.lines if line.which == which)
        file = Verified("/models/x.gguf", sound=self.problem is None, why=str(self.problem or ""))
        return Checked(which.name, which.version or 0, title, (file,), self.not_imported)

    def context_memory(self) -> ContextMemory:
        self.threads.add(threading.current_thread().name)
        return self.memory

    def halve_context(self, *, halve: bool) -> ContextMemory:
        self.asked.append(f"halve {halve}")
        self.threads.add(threading.current_thread().name)
        if self.problem is not None:
            raise self.problem
        self.memory = replace(self.memory, halved=halve)
        return self.memory

    def remove_model(self, which: Which) -> Removed:
        self.asked.append(which)
        self.threads.add(threading.current_thread().name)
        if self.problem is not None:
            raise self.problem
        self.lines = [line for line in self.lines if line.which != which]
        return Removed(which.name, which.version or 0, 10**9, "Conversations that it answered stay.")


class FakeDesk:
    """A desk with one passphrase."""

    def __init__(
        self,
        in_force: PolicyInForce | None = None,
        *,
        profile_exists: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.policy = in_force or policy()
        self.probes: tuple[Probe, ...] = PROBES
        self.profile_exists = profile_exists
        self.store = FakeStore()
        self.chat = FakeChat(self.store)
        self.drafts = FakeDrafts()
        self.ahead = FakeAhead()
        self.session = Session(self.policy.policy.session.idle_lock_seconds, clock)
        self.calls: list[str] = []
        self.problems: dict[str, Exception] = {}
        self.profile_problem: GovDeskError | None = None
        self.raise_window: Callable[[], None] | None = None
        self.unlock_gate: threading.Event | None = None
        self.model_gate: threading.Event | None = None
        self.models = FakeModels()
        self.where = "the processor with 2 threads: no graphics card that can be used"
        self.threads: dict[str, str] = {}

    def _call(self, name: str) -> None:
        self.calls.append(name)
        self.threads[name] = threading.current_thread().name
        if name in self.problems:
            raise self.problems[name]

    def record_consent(self, how: str) -> None:
        self.session.ask_consent()
        self._call(f"consent {how}")
        self.session.accept_consent()

    def passphrase_problem(self, text: str) -> str:
        minimum = self.policy.policy.session.minimum_passphrase_characters
        return f"{len(text)} of at least {minimum} characters." if len(text) < minimum else ""

    def create_profile(self, passphrase: str) -> str:
        self._call("create")
        self.created = passphrase
        self.profile_exists = True
        return CODE

    def unlock(self, passphrase: str) -> FakeUnlocked:
        self._call("unlock")
        if self.unlock_gate is not None:
            self.unlock_gate.wait(10)
        self.session.begin_unlock()
        if passphrase not in (PASSPHRASE, getattr(self, "created", PASSPHRASE)):
            self.session.unlock_failed()
            raise WrongPassphraseError(
                "This passphrase does not open the profile.",
                kept="Nothing was changed.",
                todo="Try again, or use the recovery code.",
            )
        self.session.unlock_succeeded()
        return FakeUnlocked(self.store, self.chat, self.drafts, self.ahead)

    def unlock_with_recovery(self, code: str) -> FakeUnlocked:
        self._call("recovery")
        if code != CODE:
            raise WrongPassphraseError("This recovery code does not open the profile.")
        self.session.begin_unlock()
        self.session.unlock_succeeded()
        return FakeUnlocked(self.store, self.chat, self.drafts, self.ahead)

    def reset_passphrase(self, code: str, new: str) -> None:
        self._call("reset")
        self.reset = (code, new)

    def model(self) -> ModelInfo:
        self._call("model")
        if self.model_gate is not None:
            self.model_gate.wait(10)
        return MODEL

    @property
    def runs_on(self) -> str:
        self._call("runs_on")
        return self.where

    def touch(self) -> bool:
        return self.session.touch()

    @property
    def idle_over(self) -> bool:
        return self.session.state is SessionState.LOCKING

    def lock(self) -> None:
        self.session.lock(LockReason.PERSON)
        self._call("lock")

    def on_raise(self, raise_window: Callable[[], None]) -> None:
        self.raise_window = raise_window
