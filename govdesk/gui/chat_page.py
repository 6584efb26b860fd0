"""The page of one conversation: what was asked, what came, and the turn that is running."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import assert_never

from PySide6.QtCore import Signal
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QVBoxLayout, QWidget

from govdesk.chat.fitting import blocks, cut_in_force, history_of
from govdesk.chat.ports import History
from govdesk.domain.decision import Deny
from govdesk.domain.ids import ConversationId, TurnId
from govdesk.domain.turn import (
    Decided,
    Ended,
    Message,
    Outcome,
    Reading,
    Released,
    Role,
    Sampling,
    TooLong,
    TurnEvent,
    WhenFull,
    remembered,
)
from govdesk.errors import GovDeskError
from govdesk.gui import theme, words
from govdesk.gui.composer import Composer
from govdesk.gui.desk import Chat
from govdesk.gui.estimate import estimated_tokens
from govdesk.gui.full_panel import FullPanel
from govdesk.gui.message import LiveMessage, MessageView
from govdesk.gui.parts import announce
from govdesk.gui.running import Running, Unfit
from govdesk.gui.tasks import Tasks
from govdesk.gui.transcript import Transcript

_EMPTY_TITLE = "What would you like to know?"
_EMPTY = (
    "Ask a question below. It is checked against your organisation's policy, redacted, recorded in the audit "
    "log and answered by a model on this computer. Nothing leaves the machine.\n\n"
    "A model can be wrong: check what matters. F1 shows the keyboard shortcuts."
)
_CHECKING = "Checking the message…"
_ELSEWHERE = "An answer is still coming in another conversation."
_LOADING_MODEL = "Loading the model… You can write in the meantime."
_NO_WORDS = "The model ended without an answer. Ask in another way."
_KEPT = "Your text was left in the message box."
_BACK = "Your text was put back in the message box."


class ChatPage(QWidget):
    """`changed` when the list of conversations changed; carries the id shown. `settled`: it could be read."""

    changed = Signal(str)
    settled = Signal()
    why = Signal(tuple)
    answered = Signal(object)
    """A turn ended: the model that answered it (`ModelInfo`)."""

    def __init__(self, chat: Chat, history: History, tasks: Tasks) -> None:
        super().__init__()
        self.setObjectName("chat")
        self._chat, self._history, self._tasks = chat, history, tasks
        self._shown: ConversationId | None = None
        self._messages: tuple[Message, ...] = ()
        self._running: Running | None = None
        self._exact: dict[ConversationId, tuple[int, TurnId]] = {}  # tokens counted, up to which turn
        self._context_tokens = 0
        self._model_ready = False
        self._when_ended: list[Callable[[], None]] = []
        self.transcript = Transcript(_EMPTY_TITLE, _EMPTY)
        self.transcript.why.connect(self.why)
        self.composer = Composer()
        self.composer.send.connect(self._send)
        self.composer.stop.connect(self.stop)
        self.full = FullPanel()
        self.full.dropping.connect(lambda: self._send(self.composer.prompt, WhenFull.DROP_OLDEST))
        self.full.summarising.connect(self._summarise)
        self.full.shortening.connect(self._shorten)
        self.composer.edited.connect(self.full.hide)
        self._to_summarise = 0
        self._unfit = Unfit()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self.transcript, 1)
        column.addWidget(self.full)
        column.addWidget(self.composer)
        self.new()

    # ── what is shown ──

    @property
    def shown(self) -> ConversationId | None:
        """The conversation on screen; None before a new one's first turn."""
        return self._shown

    @property
    def running(self) -> bool:
        """Whether a turn is running, here or in another conversation."""
        return self._running is not None

    @property
    def can_read(self) -> bool:
        """Whether the worker is free to read ahead."""
        return self._model_ready and bool(self._context_tokens) and self._running is None

    @property
    def running_in(self) -> ConversationId | None:
        """The conversation that is being answered; None when there is none, or it has no id yet."""
        return None if self._running is None else self._running.conversation

    @property
    def running_here(self) -> bool:
        """Whether the conversation on screen is being answered."""
        return self._running is not None and self._running.conversation == self._shown

    def once_free(self, conversation: ConversationId, then: Callable[[], None]) -> None:
        """Call `then` as soon as no turn runs in a conversation; one that does is stopped first."""
        if self._running is None or self._running.conversation != conversation:
            then()
            return
        self._when_ended.append(then)
        self.stop()

    def resizeEvent(self, event: QResizeEvent) -> None:
        """The message box takes its part of the page, no more."""
        super().resizeEvent(event)
        height = event.size().height()
        self.composer.box.set_room(height)
        self.full.set_room(height * 2 // 5)

    def new(self) -> None:
        """An empty page; the conversation starts with its first turn."""
        self._show(None, ())
        self.composer.box.setFocus()

    def open(self, conversation: ConversationId, turn: TurnId | None = None) -> None:
        """Read a conversation, off the GUI thread, and show its end or the place of a turn."""
        self._shown = conversation

        def loaded(messages: tuple[Message, ...]) -> None:
            if self._shown == conversation:
                self._show(conversation, messages, turn)

        self._tasks.call(lambda: self._history.messages(conversation), loaded, self.say_problem)

    def restyle(self) -> None:
        """The theme changed: shape what is shown again."""
        if self._shown is None:
            return
        self.open(self._shown)

    def set_context(self, context_tokens: int) -> None:
        """The model is known, or known to be missing (0): a turn may be sent, and says what is wrong."""
        self._context_tokens = context_tokens
        self._model_ready = True
        self._say_state()
        self.settled.emit()

    def say_problem(self, error: GovDeskError) -> None:
        """An error in the flow of the conversation: what happened, what was kept, what to do next."""
        view = MessageView(self._message(Role.ASSISTANT, ""), theme.in_force())
        view.set_note(error.explain())
        self.transcript.add(view)
        announce(self, error.explain())

    def _show(
        self, conversation: ConversationId | None, messages: tuple[Message, ...], turn: TurnId | None = None
    ) -> None:
        self._shown = conversation
        self.full.hide()
        running = self._running
        here = running is not None and running.turn is not None and running.conversation == conversation
        if running is not None:
            running.asked = running.answer = None
        if here and running is not None:
            messages = tuple(m for m in messages if m.turn != running.turn or m.role is not Role.ASSISTANT)
        self._messages = messages
        self.transcript.show_messages(messages, theme.in_force(), turn)
        if here and running is not None and not running.denied:
            self._add_answer(running)
        self._say_state()
        self.settled.emit()
        self._ask_again()

    def _ask_again(self) -> None:
        """What did not fit here while the person was elsewhere is asked now."""
        if self._running is not None or not self._unfit.waits(self._shown):
            return
        box = self.composer
        too_long = self._unfit.back(self._shown, lambda text: box.prompt == text or box.put_back(text))
        if too_long is None:
            self.composer.say(words.FULL_HERE)
        else:
            self._ask_how(too_long)

    def _ask_how(self, too_long: TooLong) -> None:
        self._to_summarise = len(too_long.to_summarise)
        self.full.ask(too_long)

    def _say_state(self) -> None:
        running = self._running
        if running is not None and running.turn is None:
            why = _CHECKING
        elif running is not None and running.conversation != self._shown:
            why = _ELSEWHERE
        elif running is not None and running.then_send:
            why = words.SUMMARY_FIRST
        else:
            why = "" if self._model_ready else _LOADING_MODEL
        self.composer.block(why)
        counted, rest = self._counted()
        estimate = sum(map(estimated_tokens, rest))
        self.composer.set_context(counted + estimate, self._context_tokens, exact=not rest)

    def _counted(self) -> tuple[int, tuple[str, ...]]:
        """How many tokens the model counted on screen, and the texts that it has not counted yet."""
        exact = None if self._shown is None else self._exact.get(self._shown)
        if exact is None:
            given = history_of(blocks(self._messages, cut_in_force(self._messages)))
            return 0, tuple(text for _, text in given)
        tokens, turn = exact
        last = max((i for i, message in enumerate(self._messages) if message.turn == turn), default=-1)
        return tokens, tuple(message.text for message in remembered(self._messages[last + 1 :]))

    # ── the turn ──

    def stop(self) -> None:
        """Ask the running answer to stop; what came is kept."""
        if self._running is not None:
            self.composer.set_stopping()
            self._chat.cancel()

    def _send(self, prompt: str, when_full: WhenFull = WhenFull.STOP) -> None:
        if self._running is not None or not self._model_ready or not prompt:
            return
        # here, not on the task's thread: a stop from now on is this turn's
        sampling = Sampling(length=self.composer.length.chosen)
        events = self._chat.run_turn(self._shown, prompt, sampling, when_full)
        self._unfit.sent(prompt)
        self._run(Running(self._shown, prompt), events)

    def _summarise(self) -> None:
        """The oldest turns are summarised in a turn of their own, then what was written is sent."""
        prompt, conversation = self.composer.prompt, self._shown
        if self._running is not None or conversation is None:
            return
        events = self._chat.summarise(conversation, self._to_summarise)
        self._run(Running(conversation, "", then_send=prompt), events)

    def _shorten(self) -> None:
        self.full.hide()
        self.composer.box.setFocus()

    def _run(self, running: Running, events: Iterator[TurnEvent]) -> None:
        self._running = running
        self.full.hide()
        self.composer.set_running(running=True, text_fixed=True)
        self._say_state()
        self._tasks.iterate(lambda: events, self._event, self._done, self._failed)

    def _event(self, event: TurnEvent) -> None:
        running = self._running
        if running is None:
            return
        match event:
            case Decided():
                self._decided(running, event)
            case TooLong():
                running.too_long = event
            case Reading():
                if running.answer is not None:
                    running.answer.reading(event)
            case Released():
                running.feed(event)
            case Ended():
                self._ended(running, event)
            case _:
                assert_never(event)

    def _decided(self, running: Running, event: Decided) -> None:
        if running.conversation == self._shown:
            self._shown = event.conversation
        running.conversation, running.turn = event.conversation, event.turn
        running.denied = isinstance(event.decision, Deny)
        running.cut = event.cut
        if not running.denied and not running.then_send:
            self.composer.clear()
        self.composer.set_running(running=True, text_fixed=bool(running.then_send))
        if self._shown == event.conversation:
            message = replace(self._message(Role.USER, event.prompt, event.turn), cut=event.cut)
            if not running.denied:
                self._messages += (message,)
            running.asked = MessageView(message, theme.in_force())
            running.asked.set_findings(event.findings)
            self.transcript.add(running.asked)
            if not running.denied:
                self._add_answer(running)
        self._say_state()
        self.changed.emit(event.conversation)

    def _add_answer(self, running: Running) -> None:
        message = self._message(Role.ASSISTANT, "", running.turn)
        answer = LiveMessage(message, theme.in_force())
        self.transcript.add(answer)
        running.show(answer)

    def _ended(self, running: Running, event: Ended) -> None:
        if running.too_long is not None:
            return  # nothing was begun: the panel says it once the turn is over
        if running.turn is None:
            if running.conversation == self._shown:
                self.composer.say(words.STOPPED_EARLY)
            return
        note = self._note(running, event)
        if not event.is_whole:
            running.then_send = ""
        if self._shown == event.conversation and not running.denied:
            answer = self._message(Role.ASSISTANT, event.text, event.turn)
            self._messages += (replace(answer, outcome=event.outcome, code=event.code, cut=running.cut),)
        if event.model is not None:
            self._context_tokens = event.model.context_tokens
            self.answered.emit(event.model)
        if running.cut.summary == event.turn:
            self._exact.pop(event.conversation, None)  # the next prompt holds something else
        elif event.usage.prompt_tokens and not event.thinking.text:  # thinking is not read again
            tokens = event.usage.prompt_tokens + event.usage.answer_tokens
            self._exact[event.conversation] = (tokens, event.turn)
        if running.asked is not None:
            running.asked.set_findings(event.prompt_findings)
            running.asked.set_marking(event.marking)
        if running.answer is not None:
            running.answer.end(event.text, event.thinking)
            running.answer.set_findings(event.answer_findings)
            running.answer.set_marking(event.marking)
            running.answer.set_note(note)
            running.answer.set_details(words.details(event.model, event.usage))
        elif running.asked is not None:
            running.asked.set_note(note)
        announce(self, note or f"Answer: {event.text}")

    def _note(self, running: Running, event: Ended) -> str:
        """Words about how the turn ended; empty when there is nothing to say."""
        if event.outcome is Outcome.COMPLETED and not event.is_whole:
            unsent = words.NOT_SUMMARISED if running.then_send else ""
            return " ".join(part for part in (event.explanation or _NO_WORDS, unsent) if part)
        ended = words.NOT_ASKED if running.denied else words.outcome(event.outcome, event.text)
        if event.outcome is Outcome.DENIED and not running.denied and event.explanation:
            ended = ""  # the explanation says it better
        where = ""
        if running.denied:
            where = _KEPT
        elif event.outcome is Outcome.FAILED and not event.text and self._give_back(running):
            where = _BACK
        return " ".join(part for part in (ended, event.explanation, where) if part)

    def _give_back(self, running: Running) -> bool:
        """Put what was written back in the box, where it was written and nothing else is there."""
        return running.conversation == self._shown and self.composer.put_back(running.written)

    def _done(self) -> None:
        running, self._running = self._running, None
        waiting, self._when_ended = self._when_ended, []
        self.composer.set_running(running=False, text_fixed=False)
        self._say_state()
        if running is not None and running.conversation is not None:
            self.changed.emit(running.conversation)
        for then in waiting:
            then()
        if running is not None:
            self._go_on(running)
        self.settled.emit()

    def _go_on(self, running: Running) -> None:
        """What follows a turn: a choice, here or once the person is back; or what waited for a summary."""
        here = running.conversation == self._shown
        if running.too_long is not None and here:
            self._ask_how(running.too_long)
        elif running.too_long is not None:
            self._unfit.keep(running.conversation, running.too_long, running.written)
            self.composer.say(words.FULL_ELSEWHERE)
        elif running.then_send and running.turn is not None and here:
            self._send(running.then_send)

    def _failed(self, error: GovDeskError) -> None:
        running = self._running
        if running is not None and running.answer is not None:
            note = f"{words.outcome(Outcome.FAILED, ''.join(running.parts))} {error.explain()}"
            if not running.parts and self._give_back(running):
                note = f"{note} {_BACK}"
            running.answer.end("".join(running.parts))
            running.answer.set_note(note)
            announce(self, note)
        else:
            self.say_problem(error)
        if running is not None:
            running.then_send = ""
        self._done()

    def _message(self, role: Role, text: str, turn: TurnId | None = None) -> Message:
        return Message(role, text, turn or TurnId(""), time.time_ns())
