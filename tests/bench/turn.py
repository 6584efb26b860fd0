"""How quickly a turn stops, starts and is stored."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from govdesk.domain.ids import RecordSeq, TurnId
from govdesk.domain.record import Entry, Event
from govdesk.domain.turn import Decided, Ended, Outcome, Reading, Released, Sampling, Usage
from govdesk.storage.conversations import EncryptedConversations
from govdesk.storage.database import Database
from tests.bench.figures import Figures
from tests.bench.line import WholeLine

_MESSAGES = 20_000
_WORDS = "harbour study committee review draft member chair month figure annex supply route".split()


def stopping(figures: Figures, rounds: int) -> None:
    """Milliseconds from Stop to the end of the turn: while the prompt is read, and while the answer comes."""
    with tempfile.TemporaryDirectory() as folder:
        line = WholeLine(Path(folder))
        line.supervisor.model()
        for when, kind, prompt in (
            ("reading", Reading, "word " * 2500),
            ("answering", Released, "Write a long story about a harbour."),
        ):
            taken = []
            for _ in range(rounds):
                asked = 0.0
                for event in line.chat.run_turn(None, prompt, Sampling(max_tokens=900, temperature=0.0)):
                    if isinstance(event, kind) and not asked:
                        asked = time.perf_counter()
                        line.chat.cancel()
                    if isinstance(event, Ended):
                        assert event.outcome is Outcome.CANCELLED
                        taken.append(1000 * (time.perf_counter() - asked))
            figures.spread(f"stop.{when}", taken, "ms")
        line.close()


def starting(figures: Figures, rounds: int) -> None:
    """Milliseconds from sending to the durable decision (policy, redaction, audit, storage), and audit alone."""
    with tempfile.TemporaryDirectory() as folder:
        line = WholeLine(Path(folder))
        line.supervisor.model()
        decided, appended = [], []
        for _ in range(rounds):
            started = time.perf_counter()
            for event in line.chat.run_turn(None, "What is a port?", Sampling(max_tokens=1)):
                if isinstance(event, Decided):
                    decided.append(1000 * (time.perf_counter() - started))
            started = time.perf_counter()
            line.audit.append(Entry(event=Event.SEARCH, outcome="success", object="bench"))
            appended.append(1000 * (time.perf_counter() - started))
        line.close()
    figures.spread("turn.decided", decided, "ms")
    figures.spread("audit.append", appended, "ms")


def history(figures: Figures, rounds: int) -> None:
    """Encrypted history of 20,000 messages: one durable append, a search, a list, a conversation, a deletion."""
    with tempfile.TemporaryDirectory() as folder:
        database = Database.create(Path(folder) / "history.db", bytearray(os.urandom(32)))
        store = EncryptedConversations(database)
        text = " ".join(_WORDS) + " "
        conversations = []
        for number in range(_MESSAGES // 2):
            if number % 100 == 0:
                conversations.append(store.create(f"Study {number}", "UNCLASSIFIED", number))
            turn = TurnId(f"t{number}")
            store.begin_turn(conversations[-1], turn, f"{text}{number}", (), "U", "p", number)
            store.append_answer(turn, text * 3)
            store.finish_turn(turn, Outcome.COMPLETED, (), None, Usage(), RecordSeq(number), number)
        turn = TurnId("last")
        store.begin_turn(conversations[-1], turn, text, (), "U", "p", 1)
        for name, act in (
            ("append", lambda: store.append_answer(turn, "some more words of an answer ")),
            ("search-all-match", lambda: store.search("annex supply")),
            ("list", store.conversations),
            ("open", lambda: store.messages(conversations[0])),
        ):
            taken = []
            for _ in range(rounds):
                started = time.perf_counter()
                act()
                taken.append(1000 * (time.perf_counter() - started))
            figures.spread(f"history.{name}", taken, "ms")
        started = time.perf_counter()
        store.delete(conversations[1])
        figures.add("history.delete", 1000 * (time.perf_counter() - started), "ms")
        started = time.perf_counter()
        database.compact_if_due()
        figures.add("history.compact", 1000 * (time.perf_counter() - started), "ms, in the background")
        size = (Path(folder) / "history.db").stat().st_size
        figures.add("history.size", size / 2**20, "MiB")
        database.close()
