"""Writes every page as PNG, light and dark, at 100 and 200 %, with realistic data: `pictures.py FOLDER`.

Each scale is a process of its own (Qt reads the scale once): `pictures.py FOLDER light|dark 1|2` is one.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent))
DAY_NS = 86_400_000_000_000

ANSWER = """The study compares **three harbours** by depth, crane capacity and rail access.

## Findings

| Harbour | Depth (m) | Cranes | Rail |
|---|---:|---:|:---:|
| Nordhafen | 14.2 | 6 | yes |
| Port Alder | 11.8 | 3 | no |
| Vestmouth | 16.0 | 9 | yes |

1. *Vestmouth* takes the largest ships at every tide.
2. *Nordhafen* needs dredging before 2027.
   - The contract is with [the port authority](https://example.invalid/contract).

> Figures are from the annex; the annex itself gives no date.

The ratio was computed so:

```python
def ratio(cranes: int, depth: float) -> float:
    return cranes / depth  # cranes per metre
```

`ratio(9, 16.0)` is 0.56."""

HOSTILE = """Look: ![logo](file:///etc/passwd) and [click here](javascript:alert(1)).

<script>alert("x")</script> <b>bold?</b> admin\u202etxt.exe &#x202e;reversed
\x1b[31mred\x1b[0m zero\u200bwidth"""

RUSSIAN = "Кратко: в отчёте сравниваются **три порта** по глубине, числу кранов и наличию железной дороги."
ARABIC = "يقارن التقرير بين **ثلاثة موانئ** من حيث العمق وعدد الرافعات وخطوط السكك الحديدية."


def desk(system_high="UNCLASSIFIED", **more):
    from govdesk.domain.ids import TurnId
    from govdesk.domain.turn import Message, Outcome, Role
    from tests.fakes import FakeDesk, finding, policy

    made = FakeDesk(policy(system_high, **more))
    now = time.time_ns()

    def put(title, asked, answered, days, marking="UNCLASSIFIED"):
        pair = [(Role.USER, asked), (Role.ASSISTANT, answered)]
        made.store.put(title, pair, marking, updated_utc_ns=now - int(days * DAY_NS))

    put("Vendor contacts, spring", "Who is who?", "See below.", 40)
    put("Порты: сравнение", "Сравни порты.", RUSSIAN, 3)
    put("مقارنة الموانئ", "قارن بين الموانئ.", ARABIC, 2)
    put(
        "A title that is much longer than the list at the side is wide, to its end",
        "?",
        "!",
        1,
        "UNCLASSIFIED//FOUO",
    )
    put("Odd answers", "Show me something odd.", HOSTILE, 0.1)
    long = [(Role.USER if i % 2 == 0 else Role.ASSISTANT, f"Message number {i}.") for i in range(10_000)]
    made.store.put("Ten thousand messages", long, updated_utc_ns=now - DAY_NS // 20)
    found = (finding("US_SSN", 24, 35), finding("EMAIL_ADDRESS", 40, 61))
    asked = "The point of contact is [US_SSN] and [EMAIL_ADDRESS]. Which harbour should we choose, and why?"
    port = [
        Message(Role.USER, asked, TurnId("t1"), now - 60 * 10**9, system_high, found),
        Message(Role.ASSISTANT, ANSWER, TurnId("t1"), now - 50 * 10**9, system_high, (), Outcome.COMPLETED),
    ]
    made.store.put("Port study", port, system_high, updated_utc_ns=now)
    return made


def models():
    from govdesk.domain.models import ModelState
    from tests.fakes import model_line

    long = "A model with a name that is a good deal longer than any window is wide, which a signer may well give it"
    return [
        model_line(fit_words="fits"),
        model_line(
            "long",
            title=long,
            quantization="Q4_K_M",
            state=ModelState.NOT_APPROVED,
            why="Which models may answer here is set by your organisation.",
            imported=True,
            chosen=False,
            size_bytes=42_520_393_472,
            format_words="fast here: repacked for this processor",
            fit_words="will not fit: needs 44 GB of 16 GB",
            highest_marking="SECRET//NOFORN",
            files=tuple(
                f"/home/ana/.local/share/govdesk/models/long-2/long-{n:05}-of-00003.gguf" for n in (1, 2, 3)
            ),
        ),
        model_line(
            "slow",
            title="Phi 4",
            quantization="Q5_K_M",
            imported=True,
            chosen=False,
            format_words="works, slower reading",
            fit_words="slow: about 3 tokens/s",
        ),
        model_line(
            "gone",
            title="Gemma 3 270M",
            state=ModelState.MISSING,
            chosen=False,
            why="The model file gemma-3-270m.gguf is missing from /usr/share/govdesk/models.",
        ),
        model_line(
            "low",
            title="Qwen 3",
            state=ModelState.MARKING,
            imported=True,
            chosen=False,
            why="The model Qwen 3 may see up to UNCLASSIFIED; this workstation holds up to SECRET//NOFORN.",
        ),
    ]


def draw(folder: Path, scheme: str, scale: str) -> None:
    from PySide6.QtCore import Qt
    from PySide6.QtTest import QTest
    from PySide6.QtWidgets import QApplication

    from govdesk.chat.endings import summary_words
    from govdesk.domain.ids import TurnId
    from govdesk.domain.models import RefusedLine
    from govdesk.domain.turn import Cut, OldTurn, TooLong
    from govdesk.errors import ModelError, WorkerError
    from govdesk.gui import dialogs, model_dialogs, theme
    from govdesk.gui.window import Window
    from tests.fakes import CODE, DENY, PASSPHRASE, PROBES, Script, finding, model_line

    application = QApplication(["pictures"])
    application.setStyle("Fusion")
    wanted = Qt.ColorScheme.Dark if scheme == "dark" else Qt.ColorScheme.Light
    application.styleHints().setColorScheme(wanted)
    chosen = theme.DARK if scheme == "dark" else theme.LIGHT
    theme.in_force = lambda: chosen
    theme.apply(application, chosen)
    width, height = (1180, 760) if scale == "1" else (860, 620)

    def until(true, seconds=8.0):
        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end, "the picture's state did not come"
            QTest.qWait(10)

    def save(widget, name):
        QTest.qWait(120)
        assert widget.grab().save(str(folder / f"{name}-{scheme}-{scale}00.png")), name

    def opened(made):
        window = Window(made)
        window.show()
        window.showNormal()  # the offscreen platform's own screen is small
        window.resize(width, height)
        window.start()
        return window

    def enter(made):
        window = opened(made)
        window.page.agree.click()
        until(lambda: hasattr(window.page, "unlock_button"))
        window.page.field.setText(PASSPHRASE)
        window.page.unlock_button.click()
        until(lambda: window.workspace is not None)
        until(
            lambda: (
                window.workspace.side.conversations and "loading" not in window.workspace.model_words.text()
            )
        )
        return window

    made = desk("SECRET//NOFORN", warning="")
    window = opened(made)
    save(window, "consent")
    window.page.agree.click()
    until(lambda: hasattr(window.page, "unlock_button"))
    save(window, "unlock")
    made.unlock_gate = threading.Event()
    window.page.field.setText(PASSPHRASE)
    window.page.unlock_button.click()
    save(window, "unlock-working")
    made.unlock_gate.set()
    until(lambda: window.workspace is not None)
    window.close()
    made = desk("SECRET//NOFORN", warning="")
    window = opened(made)
    window.page.agree.click()
    until(lambda: hasattr(window.page, "unlock_button"))
    window.page.field.setText("something else entirely")
    window.page.unlock_button.click()
    until(window.page.problem.isVisible)
    save(window, "unlock-wrong")
    window.page.other.click()
    window.page.field.setText(CODE)
    window.page.unlock_button.click()
    until(lambda: hasattr(window.page, "keep"))
    save(window, "new-passphrase")
    window.close()

    made = desk()
    made.profile_exists = False
    window = opened(made)
    window.page.agree.click()
    until(lambda: hasattr(window.page, "choice"))
    window.page.choice.first.setText("short")
    save(window, "setup-passphrase")
    window.page.choice.first.setText(PASSPHRASE)
    window.page.choice.second.setText(PASSPHRASE)
    window.page.choice.accept.click()
    until(lambda: window.page.code.text() == CODE)
    until(lambda: window.tasks.running == 0)
    save(window, "setup-recovery")
    window.close()
    asked = window.findChild(dialogs.MarkedDialog)
    save(asked, "dialog-close")
    asked.accept()

    made = desk("SECRET//NOFORN", warning="")
    window = enter(made)
    work = window.workspace
    save(window, "chat-empty")

    def choose(title):
        row = next(c for c in work.side.conversations if c.title == title)
        work.side.choose(row)
        work._open(row, None)
        until(lambda: work.page._messages == made.store.messages(row.id))

    choose("Port study")
    save(window, "chat")
    for title, name in (
        ("Odd answers", "chat-hostile"),
        ("Порты: сравнение", "chat-russian"),
        ("مقارنة الموانئ", "chat-arabic"),
        ("Ten thousand messages", "chat-10000"),
    ):
        choose(title)
        save(window, name)
    choose("Port study")
    gate = threading.Event()
    answer = ("Vestmouth is the best choice:\n\n", "- it is the deepest\n", "- it has **nine cr")
    made.chat.script = Script(answer=answer, reading=((920, 2048),), wait_for=gate, held=28)
    work.page.composer.box.setPlainText("Summarise in five lines.\nUse plain words.")
    save(window, "chat-draft")
    work.page.composer.send_button.click()
    until(lambda: work.page._running is not None and work.page._running.parts)
    save(window, "chat-streaming")
    work.page.stop()
    until(lambda: not work.page.running)
    save(window, "chat-stopped")
    gate = threading.Event()
    thoughts = ("The person wants **five lines**.\n\n", "1. Depth counts most.\n", "2. Then cranes, and so ")
    found = (finding("US_SSN", 2, 10),)
    made.chat.script = Script(
        thinking=thoughts, thinking_findings=found, answer=("Vestmouth, for its depth.",), wait_for=gate
    )
    work.page.composer.box.setPlainText("Think it over.")
    work.page.composer.send_button.click()
    until(lambda: work.page._running is not None and work.page._running.parts)
    work.page.transcript.views[-1].thinking.toggle.click()
    save(window, "chat-thinking-open")
    gate.set()
    until(lambda: not work.page.running)
    work.page.transcript.views[-1].thinking.toggle.setFocus()
    save(window, "chat-thought-open")
    work.page.transcript.views[-1].thinking.toggle.click()
    save(window, "chat-thought-closed")
    gate = threading.Event()
    made.chat.script = Script(answer=(), reading=((920, 2048),), wait_for=gate, threads=(1, 2))
    work.page.composer.box.setPlainText("And the costs?")
    work.page.composer.send_button.click()
    until(lambda: work.page._running is not None and work.page._running.turn)
    save(window, "chat-reading")
    gate.set()
    until(lambda: not work.page.running)
    made.chat.script = Script(
        decision=DENY, prompt="My card is [CREDIT_CARD].", prompt_findings=(finding("CREDIT_CARD"),)
    )
    work.page.composer.box.setPlainText("My card is 4111 1111 1111 1111.")
    work.page.composer.send_button.click()
    until(lambda: not work.page.running)
    save(window, "chat-denied")
    work.page.composer.clear()
    asked = (
        "Which harbour should we choose, and why?",
        "Compare the crane capacity of all three",
        "And rail?",
    )
    oldest = tuple(OldTurn(text, time.time_ns() - 4 * 10**11) for text in (*asked, "Depths", "Tides", "Ice"))
    full = TooLong(8890, 900, 8192, 256, freed_tokens=1310, oldest=oldest, to_summarise=oldest)
    made.chat.script = Script(too_long=full)
    work.page.composer.box.setPlainText("Write all of it up as a report of four pages.")
    work.page.composer.send_button.click()
    until(work.page.full.isVisible)
    save(window, "chat-full")
    work.page.full.shorten.click()
    work.page.composer.length.click()
    work.page.composer.length.setFocus()
    save(window, "chat-length")
    for _ in range(2):
        work.page.composer.length.click()
    made.chat.script = Script(too_long=full)
    work.page.composer.send_button.click()
    until(work.page.full.isVisible)
    made.chat.then = Script(
        answer=("Three harbours were comp",), code="length", explanation=summary_words("length")
    )
    work.page.full.summarise.click()
    until(lambda: made.chat.summarised and not work.page.running)
    save(window, "chat-summary-cut")
    made.chat.script = Script(too_long=full)
    work.page.composer.send_button.click()
    until(work.page.full.isVisible)
    before = len(made.chat.prompts)
    made.chat.then = Script(answer=("Three harbours were compared; Vestmouth is the deepest.",))
    made.chat.script = Script(cut=Cut(6, TurnId("any")))
    work.page.full.summarise.click()
    until(lambda: len(made.chat.prompts) > before and not work.page.running)
    save(window, "chat-summarised")
    made.chat.script = Script(too_long=TooLong(9890, 9420, 8192, 256))
    work.page.composer.box.setPlainText("Far too long.")
    work.page.composer.send_button.click()
    until(work.page.full.isVisible)
    save(window, "chat-full-alone")
    work.page.composer.clear()
    todo = "Ask again; a new one is started."
    ended = WorkerError("The model's process ended.", kept="What came so far is kept.", todo=todo)
    made.chat.script = Script(during=ended)
    work.page.composer.box.setPlainText("Once more, please.")
    work.page.composer.send_button.click()
    until(lambda: not work.page.running)
    work.page.composer.box.large_paste.emit(
        "Lorem ipsum dolor sit amet, consectetur adipiscing elit. " * 34_000
    )
    save(window, "chat-failed-and-large-paste")
    work.side.search.setText("harbour")
    until(lambda: work.side.list.accessibleName() == "Search results")
    save(window, "search")
    work.side.search.clear()
    in_force = made.policy
    found = (finding("US_SSN", 24, 35), finding("EMAIL_ADDRESS", 40, 61))
    for name, dialog in (
        ("dialog-network", dialogs.network_dialog(in_force, PROBES, window)),
        ("dialog-why", dialogs.findings_dialog(in_force, found, window)),
        ("dialog-delete", dialogs.confirm_delete(in_force, "Port study", window)),
        ("dialog-rename", dialogs.RenameDialog(in_force, "Port study", window)),
        ("dialog-shortcuts", dialogs.shortcuts_dialog(in_force, window)),
    ):
        dialog.open()
        save(dialog, name)
        dialog.reject()
    window.close()

    made = desk("SECRET//NOFORN", warning="")
    made.models.lines = models()
    made.models.refused = [
        RefusedLine(
            "old.toml", "model.older", "The manifest of Old has version 1; version 3 was here before."
        )
    ]
    window = enter(made)
    work = window.workspace
    work.show_models()
    until(lambda: work.models.list.count() == 5 and window.tasks.running == 0)
    save(window, "models")
    work.models.list.setCurrentRow(1)
    until(lambda: window.tasks.running == 0)
    save(window, "models-long-name")
    made.models.gate, made.models.steps = threading.Event(), (10, 60)
    work.models.bring("/media/ana/MODELS")
    until(lambda: work.models.bar.value() == 60)
    save(window, "models-importing")
    work.models.stop()
    until(lambda: not work.models.working and window.tasks.running == 0)
    save(window, "models-stopped")
    made.models.gate = None
    made.models.problem = ModelError(
        "The manifest big.toml is not signed by a key that this workstation trusts.",
        code="model.manifest-signature",
        kept="Nothing was imported. Your conversations are unchanged.",
        todo="Ask whoever gave you the model for a package that is signed for this workstation.",
    )
    work.models.bring("/media/ana/MODELS")
    until(lambda: not work.models.working and window.tasks.running == 0)
    save(window, "models-refused")
    for name, dialog in (
        (
            "dialog-import",
            model_dialogs.ImportDialog(made.policy, made.models.look_into, window.tasks, "", window),
        ),
        (
            "dialog-remove-model",
            model_dialogs.confirm_remove(made.policy, model_line(title="Llama 3.3 70B Instruct"), window),
        ),
    ):
        dialog.open()
        save(dialog, name)
        dialog.reject()
    made.models.lines, made.models.refused = [], []
    work.models.problem.hide()
    work.models.refresh()
    until(lambda: work.models.list.count() == 0 and window.tasks.running == 0)
    save(window, "models-empty")
    window.close()

    made = desk("TOP SECRET//SI//NOFORN")
    window = enter(made)
    save(window, "chat-development-policy")
    window.refuse(
        WorkerError(
            "A network channel could be opened.", kept="Nothing was changed.", todo="Tell your administrator."
        )
    )
    save(window, "refused")
    window.close()


def main() -> int:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    if len(sys.argv) == 4:
        draw(folder, sys.argv[2], sys.argv[3])
        return 0
    for scale in ("1", "2"):
        for scheme in ("light", "dark"):
            environment = dict(os.environ, QT_SCALE_FACTOR=scale)
            environment.setdefault("QT_QPA_PLATFORM", "offscreen")
            subprocess.run(
                [sys.executable, str(Path(__file__)), str(folder), scheme, scale], check=True, env=environment
            )
    print(f"{len(list(folder.glob('*.png')))} pictures in {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
