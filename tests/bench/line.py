"""GovDesk's whole line for the benches: policy, redaction, audit writer, worker, encrypted history; and its view."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Generator
from pathlib import Path

import msgspec

from govdesk import config
from govdesk.app import rules as composition
from govdesk.app.prompt_cache import PromptCache
from govdesk.audit.client import AuditClient
from govdesk.chat.history import AuditedHistory
from govdesk.chat.reading_ahead import ReadingAhead
from govdesk.chat.service import ChatService
from govdesk.domain.frames import FromAudit, LoadModel, SetThreads
from govdesk.domain.ids import ConversationId, ModelDigest
from govdesk.domain.turn import Ended, Released, Sampling, TurnEvent, WhenFull
from govdesk.inference import catalogue, processor
from govdesk.inference.gguf import GgufFacts
from govdesk.inference.manifest import Manifest
from govdesk.inference.plan import default_plan
from govdesk.inference.prompt_states import PromptStates
from govdesk.inference.supervisor import Supervisor
from govdesk.inference.tuning import Tunings
from govdesk.policy.decisions import Decider
from govdesk.policy.loader import trust_roots
from govdesk.process import environment
from govdesk.process.channel import Channel, pair
from govdesk.sandbox import selftest
from govdesk.storage.conversations import EncryptedConversations
from govdesk.storage.database import Database
from govdesk.storage.prompt_states import PromptStateFiles
from tests.bench.peers import PROMPT, long_prompt
from tests.processes import DirectBroker


class Clock:
    """The machine's clocks."""

    def utc_ns(self) -> int:
        return time.time_ns()

    def monotonic(self) -> float:
        return time.monotonic()


class WholeLine:
    """Everything between a prompt and its view, with the real processes.

    Without sealed states, reading ahead and tuning: what they do beside a turn would be in the figures of the
    benches, which measure turns. `DeskLine` has them.

    Args:
        folder: for the log and the history.
        plan: how the model is loaded.
        tuned: what was measured to suit it.
    """

    def __init__(
        self,
        folder: Path,
        plan: Callable[[Manifest, GgufFacts], LoadModel] = default_plan,
        tuned: Callable[[ModelDigest], SetThreads | None] = lambda _digest: None,
    ) -> None:
        self.policy, _ = composition.load_policy()
        self.redactor = composition.build_redactor(self.policy)
        ours, theirs = pair()
        self._writer = subprocess.Popen(
            [
                *environment.command(),
                "--role",
                "auditd",
                "--channel",
                str(theirs.fileno()),
                "--folder",
                str(folder / "audit"),
            ],
            pass_fds=(theirs.fileno(),),
            env=environment.for_worker(os.environ),
        )
        theirs.close()
        channel: Channel[FromAudit] = Channel(ours, FromAudit)
        self.audit = AuditClient(channel)
        self.audit.open(self.policy.policy.audit.officers)
        self.database = Database.create(folder / "history.db", bytearray(os.urandom(32)))
        self.store = EncryptedConversations(self.database)
        folders, roots = (config.MODELS,), trust_roots(config.RESOURCES / "policy" / "trust")
        approved = self.policy.policy.models.approved
        self.broker = DirectBroker()
        self.supervisor = Supervisor(
            self.broker,
            lambda: catalogue.approved_model(
                folders, roots, approved, self.policy.policy.system_high, composition.covers
            ),
            self.audit.append,
            selftest.require_closed,
            plan,
            tuned,
        )
        self.chat = ChatService(
            audit=self.audit,
            decider=Decider(self.policy),
            redactor=self.redactor,
            inference=self.supervisor,
            store=self.store,
            clock=Clock(),
            marking=self.policy.policy.system_high,
            policy_stamp=self.policy.stamp,
        )

    def answer(self, tokens: int) -> tuple[int, float, str]:
        """One turn: tokens, seconds from the first released text to the last, the text."""
        started, last, ended = 0.0, 0.0, None
        for event in self.chat.run_turn(None, PROMPT, Sampling(max_tokens=tokens, temperature=0.0)):
            if isinstance(event, Released):
                last = time.perf_counter()
                started = started or last
            if isinstance(event, Ended):
                ended = event
        assert ended is not None
        return ended.usage.answer_tokens, last - started, ended.text

    def read(self, tokens: int, salt: str) -> float:
        """Seconds to the first token behind a prompt of about so many tokens that begins with `salt`."""
        events = self.chat.run_turn(None, long_prompt(tokens, salt), Sampling(max_tokens=2, temperature=0.0))
        ended = [event for event in events if isinstance(event, Ended)]
        return ended[0].usage.first_token_seconds

    def close(self) -> None:
        """End worker and writer."""
        self.supervisor.stop()
        self.database.close()
        self._writer.kill()
        self._writer.wait()


class Soon(Clock):
    """Each look is far later than the last: nothing waits for the time between two records."""

    def __init__(self) -> None:
        self._looks = 0

    def monotonic(self) -> float:
        self._looks += 1
        return 60.0 * self._looks


class DeskLine(WholeLine):
    """The line as a desk has it: turns and reading ahead go through the cache of sealed states; it can tune.

    Nothing of it begins by itself: `cache.save`, `ahead.read` and `tune` are called.

    Args:
        folder: for everything.
        aside_bytes: so much memory has the worker for conversations that it sets aside.
    """

    def __init__(self, folder: Path, aside_bytes: int) -> None:
        def plan(manifest: Manifest, facts: GgufFacts) -> LoadModel:
            return msgspec.structs.replace(default_plan(manifest, facts), aside_bytes=aside_bytes)

        self._tunings = Tunings(folder / "tuning.json", processor.read())
        super().__init__(folder, plan, self._tunings.threads)
        self.states = PromptStates(self.supervisor)
        self.sealed = folder / "caches"
        self.files = PromptStateFiles(self.database, self.sealed)
        marking, stamp = self.policy.policy.system_high, self.policy.stamp
        self.cache = PromptCache(
            inference=self.supervisor,
            states=self.states,
            files=self.files,
            audit=self.audit,
            clock=Clock(),
            marking=marking,
            policy_stamp=stamp,
            allowed=True,
        )
        self.chat = ChatService(
            audit=self.audit,
            decider=Decider(self.policy),
            redactor=self.redactor,
            inference=self.cache,
            store=self.store,
            clock=Clock(),
            marking=marking,
            policy_stamp=stamp,
        )
        self.ahead = ReadingAhead(
            audit=self.audit,
            decider=Decider(self.policy),
            redactor=self.redactor,
            inference=self.cache,
            store=self.store,
            clock=Soon(),
            marking=marking,
            policy_stamp=stamp,
            allowed=True,
        )

    def tune(self, milliseconds: int) -> bool:
        """Let the worker measure itself for so long; whether it did."""
        order = msgspec.structs.replace(self._tunings.order("tune-line"), milliseconds=milliseconds)
        return self.supervisor.tune(order) is not None


class Viewed:
    """The same line with its view: a real chat page, off screen, until the last word is laid out."""

    TICK_MS = 10

    def __init__(self, line: WholeLine) -> None:
        from PySide6.QtCore import QEventLoop, QTimer
        from PySide6.QtWidgets import QApplication

        from govdesk.gui import theme
        from govdesk.gui.chat_page import ChatPage
        from govdesk.gui.tasks import Tasks

        self._application = QApplication.instance() or QApplication(["bench"])
        assert isinstance(self._application, QApplication)
        self._application.setStyle("Fusion")
        theme.apply(self._application, theme.LIGHT)
        self._line = line
        self._tokens = 0
        self._started = 0.0
        self._ended: Ended | None = None
        self.stalls: list[float] = []
        """Seconds between two looks of the event loop at its timers, while answers came."""
        self.rests: list[float] = []
        """Seconds from the last released text to the page at rest."""
        self._last = 0.0
        self._looked = 0.0
        history = AuditedHistory(line.store, line.audit, line.policy.policy.system_high, line.policy.stamp)
        self._page = ChatPage(self, history, Tasks())  # type: ignore[arg-type]
        self._page.resize(860, 700)
        self._page.show()
        self._page.set_context(line.supervisor.model().context_tokens)
        self._loop = QEventLoop()
        self._tick = QTimer()
        self._tick.setInterval(self.TICK_MS)
        self._tick.timeout.connect(self._look)

    def run_turn(
        self,
        conversation: ConversationId | None,
        prompt: str,
        _sampling: Sampling,
        when_full: WhenFull = WhenFull.STOP,
    ) -> Generator[TurnEvent, None, None]:
        """The chat that the page is given: the real one, its sampling fixed, its first text timed."""
        sampling = Sampling(max_tokens=self._tokens, temperature=0.0)
        for event in self._line.chat.run_turn(conversation, prompt, sampling, when_full):
            if isinstance(event, Released):
                self._last = time.perf_counter()
                self._started = self._started or self._last
            if isinstance(event, Ended):
                self._ended = event
            yield event

    def cancel(self) -> None:
        """As the page's chat."""
        self._line.chat.cancel()

    def answer(self, tokens: int) -> tuple[int, float, str]:
        """One turn typed into the page, which shows it as it comes: as `WholeLine.answer`.

        What comes after the last released text (its frame, the answer in its exact shape, storage, the
        outcome's record) is in `rests`.
        """
        self._tokens, self._started, self._ended = tokens, 0.0, None
        self._page.new()
        self._page.composer.box.setPlainText(PROMPT)
        self._looked = time.perf_counter()
        self._tick.start()
        self._page.composer.send_button.click()
        self._loop.exec()
        self._tick.stop()
        assert self._ended is not None
        self.rests.append(time.perf_counter() - self._last)
        return self._ended.usage.answer_tokens, self._last - self._started, self._ended.text

    def _look(self) -> None:
        now = time.perf_counter()
        self.stalls.append(now - self._looked)
        self._looked = now
        if not self._page.running:
            self._loop.quit()

    def close(self) -> None:
        """Close the page."""
        self._page.close()
        self._page.deleteLater()
