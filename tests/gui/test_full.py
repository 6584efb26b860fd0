"""What does not fit is put before the person before anything is sent or cut; what was left out stays said."""

import threading
from dataclasses import replace

import pytest

from govdesk.domain.ids import TurnId
from govdesk.domain.turn import Cut, Message, OldTurn, Outcome, Role, TooLong, WhenFull
from tests.fakes import Script, finding

OLDEST = tuple(OldTurn(f"Question number {i} about ports", 1_700_000_000_000_000_000) for i in range(3))
FULL = TooLong(4310, 900, 4096, 256, freed_tokens=1200, oldest=OLDEST, to_summarise=(*OLDEST, OLDEST[0]))
ALONE = TooLong(9310, 8900, 4096, 256)


def conversation(desk):
    said = [(Role.USER, "first"), (Role.ASSISTANT, "one"), (Role.USER, "second"), (Role.ASSISTANT, "two")]
    return desk.store.put("Ports", said)


@pytest.fixture
def full(qtbot, enter, desk, ask):
    """A page on which a message did not fit."""

    def make(too_long=FULL):
        identity = conversation(desk)
        window = enter(desk)
        window.workspace.page.open(identity)
        qtbot.waitUntil(lambda: len(window.workspace.page.transcript.views) == 4)
        desk.chat.script = Script(too_long=too_long)
        return ask(window, "the third"), window, identity

    return make


def said(page):
    texts = [line.text() for line in page.full.lines if line.isVisibleTo(page)]
    return page.full.what.text(), texts


def settled(qtbot, window):
    qtbot.waitUntil(lambda: not window.workspace.page.running and window.tasks.running == 0)


def test_three_ways_are_offered_and_nothing_is_lost(full, desk):
    page, _, identity = full()
    assert page.full.isVisible()
    what, lines = said(page)
    assert "470 tokens too long" in what
    assert "4,096" in what and "256" in what and "Nothing was sent or cut" in what
    assert len(lines) == 3 and all("Question number" in line for line in lines)
    assert page.full.drop.text() == "Leave out the 3 oldest turns (frees 1,200 tokens)"
    assert page.full.summarise.text() == "Summarise the 4 oldest turns first"
    assert page.composer.prompt == "the third"
    assert len(page.transcript.views) == 4
    assert len(desk.store.messages(identity)) == 4


def test_leaving_out_sends_the_same_message_again_and_says_so(qtbot, full, desk):
    page, window, _ = full()
    desk.chat.script = Script(cut=Cut(3))
    page.full.drop.click()
    settled(qtbot, window)
    assert desk.chat.prompts == ["the third", "the third"]
    assert desk.chat.when_full == [WhenFull.STOP, WhenFull.DROP_OLDEST]
    assert not page.full.isVisible()
    assert page.composer.prompt == ""
    assert "The model did not see the 3 oldest turns." in labels(page.transcript.views[4])


def labels(view):
    from PySide6.QtWidgets import QLabel

    return [one.text() for one in view.findChildren(QLabel)]


def test_a_summary_is_a_turn_of_its_own_and_then_the_message_is_sent(qtbot, full, desk):
    page, window, identity = full()
    gate = threading.Event()
    desk.chat.then = Script(answer=("Ports were compared.",), wait_for=gate)
    desk.chat.script = Script(cut=Cut(4, TurnId("turn1")))
    page.full.summarise.click()
    assert page.composer.prompt == "the third"
    qtbot.waitUntil(lambda: "summarised first" in page.composer.why_not.text())
    gate.set()
    qtbot.waitUntil(lambda: len(desk.chat.prompts) == 2)
    settled(qtbot, window)
    assert desk.chat.summarised == [(identity, 4)]
    assert desk.chat.prompts == ["the third", "the third"]
    assert desk.chat.when_full[-1] is WhenFull.STOP
    views = page.transcript.views
    assert len(views) == 8
    assert any("summary of the 4 oldest turns" in text for text in labels(views[4]))
    assert "You" not in labels(views[4])
    assert "The model did not see the 4 oldest turns, but the summary of them." in labels(views[6])
    assert page.composer.prompt == ""


@pytest.mark.parametrize(
    "how",
    [{"outcome": Outcome.FAILED, "answer": ()}, {"answer": ()}, {"code": "length"}, {"code": "loop"}],
)
def test_without_a_summary_nothing_is_sent(qtbot, full, desk, how):
    page, window, _ = full()
    desk.chat.then = Script(**how)
    page.full.summarise.click()
    settled(qtbot, window)
    qtbot.wait(20)
    assert desk.chat.prompts == ["the third"]
    assert page.composer.prompt == "the third"
    if "outcome" not in how:
        assert "Your message was not sent" in page.transcript.views[-1].note.text()


def elsewhere(qtbot, enter, desk):
    """A message is being counted in a conversation, and the person opens another one."""
    first, second = conversation(desk), conversation(desk)
    window = enter(desk)
    page = window.workspace.page
    page.open(first)
    qtbot.waitUntil(lambda: len(page.transcript.views) == 4)
    gate = threading.Event()
    desk.chat.script = Script(too_long=FULL, wait_before=gate)
    page.composer.box.setPlainText("the third")
    page.composer.send_button.click()
    page.open(second)
    qtbot.waitUntil(lambda: page.shown == second and len(page.transcript.views) == 4)
    gate.set()
    settled(qtbot, window)
    assert not page.full.isVisible()
    assert "another conversation is too long" in page.composer.why_not.text()
    return page, window, first


def test_what_did_not_fit_while_the_person_was_elsewhere_is_asked_on_return(qtbot, enter, desk):
    page, window, first = elsewhere(qtbot, enter, desk)
    page.composer.clear()
    page.open(first)
    qtbot.waitUntil(page.full.isVisible)
    assert page.composer.prompt == "the third"
    page.full.drop.click()
    settled(qtbot, window)
    assert desk.chat.when_full == [WhenFull.STOP, WhenFull.DROP_OLDEST]
    assert len(desk.store.messages(first)) == 6
    page.open(first)
    settled(qtbot, window)
    assert not page.full.isVisible()


def test_it_waits_while_something_else_is_written(qtbot, enter, desk):
    page, window, first = elsewhere(qtbot, enter, desk)
    page.composer.box.setPlainText("something else")
    page.open(first)
    settled(qtbot, window)
    assert not page.full.isVisible()
    assert "and waits" in page.composer.why_not.text()
    assert page.composer.prompt == "something else"
    page.composer.clear()
    page.open(first)
    qtbot.waitUntil(page.full.isVisible)
    assert page.composer.prompt == "the third"


def test_what_was_sent_elsewhere_after_all_does_not_wait(qtbot, enter, desk):
    page, window, first = elsewhere(qtbot, enter, desk)
    assert page.composer.prompt == "the third"
    page.composer.send_button.click()
    settled(qtbot, window)
    page.open(first)
    settled(qtbot, window)
    assert not page.full.isVisible() and page.composer.prompt == ""


def test_a_first_message_waits_for_the_new_page(qtbot, enter, desk):
    identity = conversation(desk)
    window = enter(desk)
    page = window.workspace.page
    gate = threading.Event()
    desk.chat.script = Script(too_long=ALONE, wait_before=gate)
    page.composer.box.setPlainText("far too long")
    page.composer.send_button.click()
    page.open(identity)
    qtbot.waitUntil(lambda: len(page.transcript.views) == 4)
    gate.set()
    settled(qtbot, window)
    assert not page.full.isVisible()
    window.workspace.new()
    assert page.full.isVisible() and page.composer.prompt == "far too long"


def test_shorten_goes_back_to_the_box(full, desk):
    page, _, _ = full()
    page.full.shorten.click()
    assert not page.full.isVisible()
    assert page.composer.box.hasFocus()
    assert page.composer.prompt == "the third"
    assert desk.chat.prompts == ["the third"]


def test_a_message_that_is_too_long_alone_has_one_way(full):
    page, _, _ = full(ALONE)
    what, lines = said(page)
    assert "This message alone is 5,060 tokens too long" in what
    assert lines == []
    assert not page.full.drop.isVisible() and not page.full.summarise.isVisible()
    assert page.full.shorten.isVisible()


@pytest.mark.parametrize("width", range(900, 1300, 25))
def test_what_has_room_does_not_scroll(qtbot, full, width):
    page, window, _ = full(replace(FULL, oldest=OLDEST[:2]))
    window.resize(width, 800)
    qtbot.waitUntil(lambda: window.width() == width)
    qtbot.wait(20)
    panel = page.full
    assert panel.verticalScrollBar().maximum() == 0
    around = panel.contentsMargins().top() + panel.contentsMargins().bottom()
    assert panel.viewport().height() == panel.height() - around
    lines = [line for line in panel.lines if line.isVisible()]
    assert all(line.height() <= line.sizeHint().height() + 1 for line in lines)
    assert panel.widget().rect().contains(panel.shorten.geometry())
    panel.ask(ALONE)
    qtbot.wait(20)
    assert panel.verticalScrollBar().maximum() == 0
    assert panel.viewport().height() == panel.height() - around


def test_more_turns_than_lines_are_counted(full):
    page, _, _ = full(replace(FULL, oldest=OLDEST * 4))
    _, lines = said(page)
    assert len(lines) == 5
    assert lines[-1] == "… and 8 more"


def test_writing_on_or_going_elsewhere_takes_the_question_away(qtbot, full, desk):
    page, window, _ = full()
    page.composer.box.setPlainText("the third, shorter")
    assert not page.full.isVisible()
    desk.chat.script = Script(too_long=FULL)
    page.composer.send_button.click()
    settled(qtbot, window)
    assert page.full.isVisible()
    window.workspace.new()
    assert not page.full.isVisible()


def test_the_same_is_said_when_it_is_opened_again(qtbot, enter, desk):
    cut = Cut(2, TurnId("s"))
    messages = [
        Message(Role.USER, "Summarise.", TurnId("s"), 1, "U", cut=cut),
        Message(Role.ASSISTANT, "Short.", TurnId("s"), 1, "U", (), Outcome.COMPLETED, cut=cut),
        Message(Role.USER, "And then?", TurnId("t"), 1, "U", (finding("US_SSN"),), cut=cut),
        Message(Role.ASSISTANT, "Then.", TurnId("t"), 1, "U", (), Outcome.COMPLETED, cut=cut),
    ]
    identity = desk.store.put("Ports", messages)
    window = enter(desk)
    window.workspace.page.open(identity)
    page = window.workspace.page
    qtbot.waitUntil(lambda: len(page.transcript.views) == 4)
    assert any("summary of the 2 oldest turns" in text for text in labels(page.transcript.views[0]))
    assert "The model did not see the 2 oldest turns, but the summary of them." in labels(
        page.transcript.views[2]
    )
    assert "GovDesk" in labels(page.transcript.views[0])


def test_a_summary_that_was_cut_says_so_when_it_is_opened_again(qtbot, enter, desk):
    cut = Cut(2, TurnId("s"))
    messages = [
        Message(Role.USER, "Summarise.", TurnId("s"), 1, "U", cut=cut),
        Message(Role.ASSISTANT, "Shor", TurnId("s"), 1, "U", (), Outcome.COMPLETED, "length", cut=cut),
    ]
    identity = desk.store.put("Ports", messages)
    window = enter(desk)
    page = window.workspace.page
    page.open(identity)
    qtbot.waitUntil(lambda: len(page.transcript.views) == 2)
    assert page.transcript.views[1].note.text().startswith("The summary did not come to its end")


@pytest.mark.parametrize(("width", "height"), [(720, 480), (819, 614), (1280, 720)])
def test_it_has_room_on_the_smallest_screen(qtbot, full, width, height):
    page, window, _ = full(replace(FULL, oldest=OLDEST * 4))
    window.resize(width, height)
    qtbot.waitUntil(lambda: page.full.height() <= max(90, page.height() * 2 // 5))
    assert (window.width(), window.height()) == (width, height)  # nothing asks for more
    for part in (page.full, page.composer, page.composer.box):
        corner = part.mapTo(window, part.rect().bottomRight())
        assert window.rect().contains(corner)
    assert page.full.geometry().bottom() < page.composer.geometry().top()
    for way in (page.full.drop, page.full.summarise, page.full.shorten):
        way.setFocus()
        page.full.ensureWidgetVisible(way)
        top = way.mapTo(page.full.viewport(), way.rect().topLeft())
        assert page.full.viewport().rect().contains(top)
    if height >= 614:
        assert page.full.what.height() >= page.full.what.heightForWidth(page.full.what.width())
