"""One turn as a person sees it, whatever comes."""

import threading

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFrame, QProgressBar, QTableView

from govdesk.domain.ids import ModelDigest, TurnId
from govdesk.domain.redaction import Operator
from govdesk.domain.turn import Length, Message, ModelInfo, Outcome, Reading, Role
from govdesk.errors import AuditClosedError, ModelError, WorkerError
from govdesk.gui.dialogs import MarkedDialog
from govdesk.gui.estimate import estimated_tokens
from tests.fakes import DENY, FakeDesk, Script, finding


def shown(page):
    return [view.body.document().toPlainText() for view in page.transcript.views]


def note(view):
    return view.note.text() if view.note.isVisibleTo(view) else ""


def test_a_question_is_answered_and_the_box_is_empty(enter, ask, desk):
    window = enter(desk)
    page = ask(window, "What is it?")
    assert desk.chat.prompts == ["What is it?"]
    assert shown(page) == ["What is it?", "Hello there."]
    assert page.composer.box.toPlainText() == ""
    assert window.workspace.title.text() == "What is it?"
    assert "tokens/s" in page.transcript.views[1].details.text()
    assert page.composer.send_button.isVisible()
    assert not page.composer.stop_button.isVisible()


def test_the_prompt_is_shown_as_redaction_left_it(enter, ask, desk):
    window = enter(desk)
    desk.chat.script = Script(prompt="My number is [US_SSN].", prompt_findings=(finding("US_SSN", 13, 24),))
    page = ask(window, "My number is 123-45-6789.")
    assert shown(page)[0] == "My number is [US_SSN]."
    assert "123-45" not in " ".join(view.text for view in page.transcript.views)
    assert "US_SSN" in page.transcript.views[0].chip.text()


def test_why_redacted_tells_type_rule_and_what_was_done(qtbot, enter, ask, desk):
    window = enter(desk)
    found = (finding("US_SSN", 3, 14), finding("EMAIL_ADDRESS", 20, 30, Operator.MASK))
    desk.chat.script = Script(answer_findings=found)
    page = ask(window, "x")
    page.transcript.views[1].chip.click()
    dialog = window.findChildren(MarkedDialog)[0]
    model = dialog.findChild(QTableView).model()
    cells = {model.item(row, column).text() for row in range(2) for column in range(5)}
    assert {"US_SSN", "us-ssn", "3 to 14", "EMAIL_ADDRESS", "partly hidden"} <= cells
    dialog.close()


def test_reading_is_shown_in_per_cent(qtbot, enter, ask, desk):
    window = enter(desk)
    gate = threading.Event()
    desk.chat.script = Script(answer=(), reading=((920, 2048),), wait_for=gate)
    page = ask(window, "x", wait=False)
    qtbot.waitUntil(lambda: any(p.isVisible() for p in page.findChildren(QProgressBar, "reading")))
    answer = page.transcript.views[-1]
    assert "44 % (920 of 2,048 tokens" in answer.status.text()
    assert answer.progress.value() == 44
    gate.set()
    qtbot.waitUntil(lambda: not page.running)
    assert not answer.progress.isVisible()
    assert "without an answer" in note(answer)


def test_held_text_is_a_grey_block(qtbot, enter, ask, desk):
    window = enter(desk)
    gate = threading.Event()
    desk.chat.script = Script(answer=("My number is ",), held=11, wait_for=gate)
    page = ask(window, "x", wait=False)
    qtbot.waitUntil(lambda: any(h.isVisible() for h in page.findChildren(QFrame, "held")))
    assert "11 characters held back" in page.transcript.views[-1].held.toolTip()
    gate.set()
    qtbot.waitUntil(lambda: not page.running)
    assert not page.transcript.views[-1].held.isVisible()


def test_reading_is_not_spoken_of_once_text_or_a_held_block_is_there(qtbot, enter, ask, desk):
    window = enter(desk)
    gate = threading.Event()
    desk.chat.script = Script(answer=("",), held=11, wait_for=gate)
    page = ask(window, "x", wait=False)
    qtbot.waitUntil(lambda: any(h.isVisible() for h in page.findChildren(QFrame, "held")))
    answer = page.transcript.views[-1]
    assert not answer.status.isVisible()
    answer.release("text", 0)
    answer.reading(Reading(2, 2))
    assert not answer.status.isVisible()
    assert not answer.progress.isVisible()
    gate.set()
    qtbot.waitUntil(lambda: not page.running)


def test_the_text_keeps_its_place_when_the_page_is_full(qtbot, enter, ask, desk):
    window = enter(desk)
    page = ask(window, "x")
    before = page.transcript.viewport().width()
    bar = page.transcript.verticalScrollBar()
    assert bar.isVisible()
    assert not bar.isEnabled()
    desk.chat.script = Script(answer=("line\n\n" * 100,))
    ask(window, "y")
    qtbot.waitUntil(lambda: bar.maximum() > 0)  # the layout comes with the event loop
    assert bar.isEnabled()
    assert page.transcript.viewport().width() == before


@pytest.mark.parametrize("by_key", [True, False])
def test_stop_keeps_what_came_and_says_so(qtbot, enter, ask, desk, by_key):
    window = enter(desk)
    desk.chat.script = Script(answer=("First part.",), wait_for=threading.Event())
    page = ask(window, "x", wait=False)
    qtbot.waitUntil(lambda: page._running is not None and bool(page._running.parts))
    if by_key:
        qtbot.keyClick(page.composer.box, Qt.Key.Key_Escape)
    else:
        page.composer.stop_button.click()
    qtbot.waitUntil(lambda: not page.running)
    assert shown(page)[-1] == "First part."
    assert "Stopped" in note(page.transcript.views[-1])


def test_a_denial_is_explained_and_the_text_stays(enter, ask, desk):
    window = enter(desk)
    desk.chat.script = Script(
        decision=DENY, prompt="[CREDIT_CARD]", prompt_findings=(finding("CREDIT_CARD"),)
    )
    page = ask(window, "4111 1111 1111 1111")
    assert len(page.transcript.views) == 1
    words = note(page.transcript.views[0])
    assert "policy does not allow" in words
    assert DENY.why in words
    assert page.composer.box.toPlainText() == "4111 1111 1111 1111"
    assert not page.composer.box.isReadOnly()


def test_a_failure_before_the_record_keeps_the_text(enter, ask, desk):
    window = enter(desk)
    desk.chat.script = Script(before=AuditClosedError("The log is closed.", todo="Free some space."))
    page = ask(window, "keep me")
    assert "Free some space." in note(page.transcript.views[-1])
    assert page.composer.box.toPlainText() == "keep me"


def test_a_worker_that_dies_is_explained_and_the_next_turn_works(enter, ask, desk):
    window = enter(desk)
    desk.chat.script = Script(answer=("Half",), during=WorkerError("The model ended.", todo="Ask again."))
    page = ask(window, "one")
    assert "Ask again." in note(page.transcript.views[-1])
    assert shown(page)[-1] == "Half"
    ask(window, "two")
    assert shown(page)[-1] == "Hello there."


def test_a_failed_outcome_and_an_unforeseen_error_are_calm(enter, ask, desk):
    window = enter(desk)
    desk.chat.script = Script(outcome=Outcome.FAILED, explanation="The context is full. Make it shorter.")
    page = ask(window, "one")
    assert "The context is full." in note(page.transcript.views[-1])
    desk.chat.script = Script(during=KeyError("secret words"))
    page = ask(window, "two")
    assert "did not work as it should" in note(page.transcript.views[-1])
    assert "secret words" not in note(page.transcript.views[-1])


@pytest.mark.parametrize(
    "hostile",
    [
        "<script>alert(1)</script><img src='file:///etc/passwd'>",
        "![x](http://a.invalid/x.png) [y](javascript:alert(1))",
        "\x1b]0;title\x07\x1b[31mred",
        "admin\u202etxt.exe\u200b",
        "👩‍👩‍👧‍👦🎉👍🏽" * 50,
        "\ufdd0\ufffc\x00\ud800",
    ],
)
def test_hostile_and_odd_text_is_shown_safely_on_both_sides(qtbot, enter, ask, desk, hostile):
    window = enter(desk)
    desk.chat.script = Script(answer=tuple(hostile), prompt=hostile)
    page = ask(window, "x")
    title = window.windowTitle()
    for text in shown(page):
        assert not set(text) & set("\x1b\x07\x00\u202e\u200b\ufdd0\ufffc\ud800")
        assert text
    assert title == "GovDesk"
    window.grab()


def test_a_large_table_in_an_answer_is_shown_in_parts(enter, ask, desk):
    window = enter(desk)
    table = "| a | b |\n|---|---|\n" + "| 1 | 2 |\n" * 400
    desk.chat.script = Script(answer=(table,))
    page = ask(window, "x")
    answer = page.transcript.views[1]
    assert answer.more.isVisibleTo(answer)
    (found,) = answer.body.document().rootFrame().childFrames()
    assert found.rows() < 250
    answer.more.click()
    (found,) = answer.body.document().rootFrame().childFrames()
    assert 350 < found.rows() < 410
    assert answer.text == table


def test_a_message_that_is_too_long_for_the_model_comes_back_into_the_box(enter, ask, desk):
    window = enter(desk)
    desk.chat.script = Script(answer=(), outcome=Outcome.FAILED, explanation="It does not fit.")
    page = ask(window, "a very long message")
    assert page.composer.box.toPlainText() == "a very long message"
    words = note(page.transcript.views[-1])
    assert "It does not fit." in words
    assert "back in the message box" in words
    assert page.composer.meter_words.text().startswith(
        f"context about {estimated_tokens('a very long message')} "
    )


def test_a_text_written_meanwhile_is_not_replaced_by_one_that_comes_back(qtbot, enter, ask, desk):
    window = enter(desk)
    gate = threading.Event()
    desk.chat.script = Script(answer=(), outcome=Outcome.FAILED, wait_for=gate)
    page = ask(window, "long", wait=False)
    qtbot.waitUntil(lambda: page._running is not None and page._running.turn is not None)
    page.composer.box.setPlainText("the next one")
    gate.set()
    qtbot.waitUntil(lambda: not page.running)
    assert page.composer.box.toPlainText() == "the next one"
    assert "back in" not in note(page.transcript.views[-1])


def test_escape_stops_only_the_answer_on_screen(qtbot, enter, ask, desk):
    other = desk.store.put("Other", [(Role.USER, "old"), (Role.ASSISTANT, "older")])
    window = enter(desk)
    desk.chat.script = Script(answer=("part",), wait_for=threading.Event())
    page = ask(window, "long one", wait=False)
    qtbot.waitUntil(lambda: page._running is not None and bool(page._running.parts))
    mine = page.shown
    page.open(other)
    qtbot.waitUntil(lambda: shown(page) == ["old", "older"])
    window.activateWindow()
    page.composer.box.setFocus()
    qtbot.keyClick(page.composer.box, Qt.Key.Key_Escape)
    qtbot.wait(20)
    assert page.running
    assert not desk.chat._cancel.is_set()
    page.open(mine)
    qtbot.waitUntil(lambda: shown(page)[:1] == ["long one"])
    qtbot.keyClick(page.composer.box, Qt.Key.Key_Escape)
    qtbot.waitUntil(lambda: not page.running and window.tasks.running == 0)


def test_a_stop_before_anything_came_does_not_speak_of_what_is_kept(qtbot, enter, ask, desk):
    window = enter(desk)
    desk.chat.script = Script(answer=(), wait_for=threading.Event())
    page = ask(window, "x", wait=False)
    qtbot.waitUntil(lambda: page._running is not None and page._running.answer is not None)
    page.stop()
    qtbot.waitUntil(lambda: not page.running and window.tasks.running == 0)
    assert note(page.transcript.views[-1]) == "Stopped before anything came."


def test_a_model_that_does_not_load_is_explained_and_can_be_tried_again(qtbot, enter):
    desk = FakeDesk()
    desk.problems["model"] = ModelError("The model file is cut.", todo="Import it again.")
    window = enter(desk)
    work = window.workspace
    assert work.model_again.isVisible()
    assert "Import it again." in note(work.page.transcript.views[-1])
    del desk.problems["model"]
    work.model_again.click()
    qtbot.waitUntil(lambda: window.tasks.running == 0)
    assert work.model_words.text().startswith("SmolLM2")
    assert not work.model_again.isVisible()


def test_the_header_names_the_model_that_answered(qtbot, enter, ask, desk):
    """A worker that was started again may have loaded another one."""
    window = enter(desk)
    other = ModelInfo("Another model", ModelDigest("cd" * 48), 4096)
    desk.chat.script = Script(model=other)
    ask(window, "Hello.")
    assert window.workspace.model_words.text().startswith("Another model")
    assert other.digest in window.workspace.model_words.toolTip()


def test_a_model_that_came_with_an_answer_says_its_place_once_that_is_known(qtbot, enter, ask, desk):
    desk.problems["model"] = ModelError("The model file is cut.")
    window = enter(desk)
    said, texts = window.workspace.model_words, []
    say = said.say
    said.say = lambda text: (texts.append(text), say(text))
    ask(window, "Hello.")
    assert texts[0] == "SmolLM2-135M-Instruct Q8_0"
    assert texts[-1] == "SmolLM2-135M-Instruct Q8_0 · the processor with 2 threads"


def test_an_answer_goes_on_while_another_conversation_is_open(qtbot, enter, ask, desk):
    other = desk.store.put("Other", [(Role.USER, "old"), (Role.ASSISTANT, "older")])
    window = enter(desk)
    gate = threading.Event()
    desk.chat.script = Script(answer=("part one ",), wait_for=gate)
    page = ask(window, "long one", wait=False)
    qtbot.waitUntil(lambda: page._running is not None and bool(page._running.parts))
    mine = page.shown
    page.open(other)
    qtbot.waitUntil(lambda: shown(page) == ["old", "older"])
    page.composer.box.setPlainText("next")
    assert not page.composer.send_button.isEnabled()
    assert "another conversation" in page.composer.why_not.text()
    page.open(mine)
    qtbot.waitUntil(
        lambda: shown(page)[:1] == ["long one"] and "part one" in page.transcript.views[-1].so_far
    )
    gate.set()
    qtbot.waitUntil(lambda: not page.running and window.tasks.running == 0)
    assert shown(page) == ["long one", "part one"]
    assert page.composer.box.toPlainText() == "next"


def test_the_network_state_opens_the_list_of_channels(enter, desk):
    window = enter(desk)
    button = window.workspace.page.composer.network_button
    assert button.text() == "network: none ✓"
    button.click()
    dialog = window.findChildren(MarkedDialog)[0]
    assert dialog.accessibleName() == "Network: none ✓"
    dialog.close()


def test_an_open_channel_is_not_called_none(enter, desk):
    probe = type(desk.probes[0])("window.tcp4", False, "open")
    desk.probes = (*desk.probes, probe)
    assert "OPEN" in enter(desk).workspace.page.composer.network_button.text()


def test_ten_thousand_messages_build_fifty_and_more_on_request(qtbot, enter, desk):
    many = [(Role.USER if i % 2 == 0 else Role.ASSISTANT, f"Message {i}") for i in range(10_000)]
    identity = desk.store.put("Many", many)
    window = enter(desk)
    page = window.workspace.page
    page.open(identity)
    qtbot.waitUntil(lambda: len(page.transcript.views) == 50)
    assert shown(page)[-1] == "Message 9999"
    bar = page.transcript.verticalScrollBar()
    qtbot.waitUntil(lambda: bar.maximum() > 0 and bar.value() == bar.maximum())
    page.transcript.earlier.click()
    assert len(page.transcript.views) == 100
    assert shown(page)[0] == "Message 9900"
    middle = desk.store.messages(identity)[5000].turn
    page.open(identity, middle)
    qtbot.waitUntil(lambda: "Message 5000" in shown(page))
    assert len(page.transcript.views) == 50
    page.transcript.later.click()
    assert len(page.transcript.views) == 100
    qtbot.wait(20)


@pytest.mark.parametrize("width", [720, 1180])
def test_no_message_is_wider_than_the_window(qtbot, enter, ask, desk, width):
    window = enter(desk)
    window.resize(width, 500)
    kinds = (
        "US_SSN",
        "EMAIL_ADDRESS",
        "CREDIT_CARD",
        "US_BANK_NUMBER",
        "SECRET.PRIVATE_KEY",
        "MEDICAL_RECORD",
    )
    many = tuple(finding(kind) for kind in kinds)
    answer = "x" * 500 + "\n\n```\n" + "code " * 100 + "\n```\n\n|" + " wide |" * 30 + "\n|" + "---|" * 30
    desk.chat.script = Script(answer=(answer,), prompt_findings=many, answer_findings=many)
    page = ask(window, "word " * 200)
    qtbot.wait(30)
    for view in page.transcript.views:
        assert view.mapTo(page, view.rect().topRight()).x() <= page.width()


def test_store_is_read_off_the_gui_thread(qtbot, enter, desk):
    identity = desk.store.put("One", [(Role.USER, "a"), (Role.ASSISTANT, "b")])
    window = enter(desk)
    window.workspace.page.open(identity)
    qtbot.waitUntil(lambda: window.tasks.running == 0)
    assert desk.store.threads == {"govdesk-task"}


def test_stored_outcomes_are_told_again(qtbot, enter, ask, desk):
    window = enter(desk)
    desk.chat.script = Script(outcome=Outcome.INTERRUPTED, answer=("half",))
    page = ask(window, "x")
    identity = page.shown
    window.workspace.new()
    page.open(identity)
    qtbot.waitUntil(lambda: len(page.transcript.views) == 2)
    assert "Interrupted" in note(page.transcript.views[1])


def test_the_reason_of_a_failed_turn_is_told_again(qtbot, enter, desk):
    turn = TurnId("t")
    identity = desk.store.put(
        "Failed",
        [
            Message(Role.USER, "far too long", turn, 1),
            Message(Role.ASSISTANT, "", turn, 1, outcome=Outcome.FAILED, code="context.full"),
        ],
    )
    page = enter(desk).workspace.page
    page.open(identity)
    qtbot.waitUntil(lambda: len(page.transcript.views) == 2)
    assert (
        note(page.transcript.views[1]) == "There is no answer. The conversation was too long for the model."
    )


def test_a_change_of_theme_shapes_messages_again(qtbot, enter, ask, desk):
    window = enter(desk)
    page = ask(window, "x")
    window.restyle()
    qtbot.waitUntil(lambda: window.tasks.running == 0)
    assert shown(page) == ["x", "Hello there."]


@pytest.mark.parametrize("known", [False, True])
def test_stopped_before_it_was_sent_the_text_stays_where_it_is(qtbot, enter, desk, ask, known):
    identity = desk.store.put("Ports", [(Role.USER, "a"), (Role.ASSISTANT, "b")])
    window = enter(desk)
    page = window.workspace.page
    if known:
        page.open(identity)
        qtbot.waitUntil(lambda: len(page.transcript.views) == 2)
    desk.chat.script = Script(stopped_early=True)
    ask(window, "What is a port?")
    assert page.composer.prompt == "What is a port?"
    assert "Stopped before it was sent" in page.composer.why_not.text()
    assert len(page.transcript.views) == (2 if known else 0)
    assert [message.text for message in page._messages] == (["a", "b"] if known else [])
    assert page.composer.send_button.isEnabled()


def test_answers_are_as_long_as_was_chosen(qtbot, enter, desk, ask):
    window = enter(desk)
    choice = window.workspace.page.composer.length
    ask(window, "One?")
    choice.setFocus()
    qtbot.keyClick(choice, Qt.Key.Key_Return)
    ask(window, "Two?")
    ask(window, "Three?")
    qtbot.keyClick(choice, Qt.Key.Key_Space)
    ask(window, "Four?")
    asked = [one.length for one in desk.chat.samplings]
    assert asked == [Length.USUAL, Length.LONG, Length.LONG, Length.SHORT]


def test_a_length_says_how_many_tokens_it_is(enter, desk):
    window = enter(desk)
    choice = window.workspace.page.composer.length
    said, width = {}, choice.width()
    for _ in range(3):
        choice.click()
        assert choice.accessibleDescription() == choice.toolTip()
        assert choice.accessibleName() == choice.text() and choice.width() == width
        said[choice.text()] = choice.toolTip().split(" tokens")[0]
    assert said == {
        "Long answers": "At most 4,096",
        "Short answers": "At most 256",
        "Usual answers": "At most 1,024",
    }


def test_the_header_says_what_the_model_runs_on_and_why(qtbot, enter, desk, ask):
    window = enter(desk)
    said = window.workspace.model_words
    assert said.text() == "SmolLM2-135M-Instruct Q8_0 · the processor with 2 threads"
    assert "no graphics card that can be used" in said.toolTip() and "SHA-384" in said.toolTip()
    assert "runs on the processor with 2 threads: no graphics" in said.accessibleDescription()
    desk.where = "A card (24 of 24 layers)"  # another worker was started
    ask(window, "Hello")
    assert said.text() == "SmolLM2-135M-Instruct Q8_0 · A card (24 of 24 layers)"
    assert not desk.threads["runs_on"].startswith("MainThread")


def test_a_busy_workstation_is_told(qtbot, enter, desk, ask):
    window = enter(desk)
    gate = threading.Event()
    desk.chat.script = Script(answer=(), reading=((1, 2),), wait_for=gate, threads=(1, 2))
    page = ask(window, "Hello", wait=False)
    qtbot.waitUntil(lambda: len(page.transcript.views) == 2)
    qtbot.waitUntil(lambda: "busy workstation: 1 of 2 threads" in page.transcript.views[-1].status.text())
    gate.set()
    qtbot.waitUntil(lambda: not page.running)
    assert "busy workstation: 1 of 2 threads" in page.transcript.views[-1].details.text()
    ask(window, "Hello")
    assert "busy" not in page.transcript.views[-1].details.text()
