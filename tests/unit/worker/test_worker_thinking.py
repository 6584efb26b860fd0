"""Thinking is told apart however the markers are split, comes before the answer, and no word is lost."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from govdesk.worker.thinking import (
    HARMONY,
    MARKERS,
    MAX_HEADER_CHARACTERS,
    PAIRS,
    Between,
    Channels,
    Pair,
    Splitter,
    detect,
)

OPENS, CLOSES = 1, 2
CHANNEL, MESSAGE, END, START = 11, 12, 13, 14
THINK = PAIRS[0]


def _told(splitter: Splitter, events: list[str | int]) -> tuple[str, str]:
    """The thinking and the answer; a number is a marker's token, which would show as `<n>`."""
    spans = []
    for event in events:
        spans += splitter.take(event) if isinstance(event, str) else splitter.meet(event, f"<{event}>")
    spans += splitter.end()
    assert all(text for text, _ in spans)
    kinds = [thinks for thinks, _ in itertools.groupby(thinks for _, thinks in spans)]
    assert kinds in ([], [True], [False], [True, False]), "thinking comes first, and once"
    return (
        "".join(text for text, thinks in spans if thinks),
        "".join(text for text, thinks in spans if not thinks),
    )


def _as_text(*, inside: bool = False, pair: Pair = THINK) -> Between:
    return Between(pair, None, None, inside=inside)


def _as_tokens(*, inside: bool = False, pair: Pair = THINK) -> Between:
    return Between(pair, OPENS, CLOSES, inside=inside)


def _channels() -> Channels:
    return Channels(CHANNEL, MESSAGE, END, START)


TEXTS = [
    ("<think>a b</think>c", "a b", "c"),
    ("\n<think>\na\nb\n</think>\n\nc\n", "a\nb", "c\n"),
    ("<think></think>c", "", "c"),
    ("<think>\n\n</think>\n\nc", "", "c"),
    ("no thinking </think> at <think>all", "", "no thinking </think> at <think>all"),
    ("<thin", "", "<thin"),
    ("<thinker>x", "", "<thinker>x"),
    ("<think>never closed", "never closed", ""),
    ("<think>nearly closed </thin", "nearly closed </thin", ""),
    ("<think>a < b </ c </think>d", "a < b </ c", "d"),
    ("<think>a<think>b</think>c</think>d", "a<think>b", "c</think>d"),
    ("<think>a</think>b<think>c</think>", "a", "b<think>c</think>"),
    (" " * 200 + "<think>x", "", " " * 200 + "<think>x"),
    ("<think>a" + " " * 200 + "b</think>", "a" + " " * 200 + "b", ""),
    ("  ", "", "  "),
    ("", "", ""),
]


@pytest.mark.parametrize(("text", "thought", "answer"), TEXTS)
@pytest.mark.parametrize("size", [1, 2, 3, 5, 1000])
def test_markers_that_are_text_count_however_they_are_split(
    text: str, thought: str, answer: str, size: int
) -> None:
    parts: list[str | int] = [text[at : at + size] for at in range(0, len(text), size)]
    assert _told(_as_text(), parts) == (thought, answer)


@pytest.mark.parametrize("size", [1, 2, 1000])
def test_a_block_that_the_template_opened(size: int) -> None:
    for text, thought, answer in [
        ("a b\n</think>\n\nc", "a b", "c"),
        ("\n</think>c", "", "c"),
        ("a<think>b</think>c", "a<think>b", "c"),
        ("never", "never", ""),
    ]:
        parts: list[str | int] = [text[at : at + size] for at in range(0, len(text), size)]
        assert _told(_as_text(inside=True), parts) == (thought, answer)


def _without_markers(text: str) -> set[str]:
    """The text as it is, without its first opening marker, and without one closing marker, whichever."""
    found = {text, text.removeprefix("<think>")}
    for one in list(found):
        pieces = one.split("</think>")
        found |= {"</think>".join(pieces[:at]) + "</think>".join(pieces[at:]) for at in range(1, len(pieces))}
    return found


_PIECES = st.sampled_from(["<think>", "</think>", "<thin", "</th", "<", ">", "a", "b", " ", "\n"])


@given(st.lists(_PIECES, max_size=8).map("".join), st.data())
def test_any_split_says_the_same_and_no_word_is_lost(text: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    parts: list[str | int] = [text[a:b] for a, b in itertools.pairwise([0, *cuts, len(text)])]
    for inside in (False, True):
        whole = _told(_as_text(inside=inside), [text])
        assert _told(_as_text(inside=inside), parts) == whole
        assert "".join("".join(whole).split()) in _without_markers("".join(text.split()))


@pytest.mark.parametrize(
    ("events", "thought", "answer"),
    [
        ([OPENS, "\na", " b\n", CLOSES, "\n\n", "c"], "a b", "c"),
        (["\n", OPENS, "a", CLOSES], "a", ""),
        ([OPENS, CLOSES, "c"], "", "c"),
        ([OPENS, "never"], "never", ""),
        ([OPENS, "he says </think> and <think>", CLOSES, "c </think>"], "he says </think> and <think>", "c </think>"),
        (["<think>a</think>b"], "", "<think>a</think>b"),
        (["a", OPENS, "b", CLOSES], "", f"a<{OPENS}>b<{CLOSES}>"),
        ([OPENS, "a", OPENS, CLOSES, "b", CLOSES, OPENS], f"a<{OPENS}>", f"b<{CLOSES}><{OPENS}>"),
        ([CLOSES, "a"], "", f"<{CLOSES}>a"),
    ],
)  # fmt: skip
def test_markers_that_are_tokens_count_as_tokens_alone(
    events: list[str | int], thought: str, answer: str
) -> None:
    assert _told(_as_tokens(), events) == (thought, answer)


def test_a_marker_without_text_in_the_wrong_place_is_nothing() -> None:
    splitter = _as_tokens()
    assert splitter.take("a") == [("a", False)]
    assert splitter.meet(CLOSES, "") == []


@pytest.mark.parametrize(
    ("events", "thought", "answer"),
    [
        ([CHANNEL, "analysis", MESSAGE, "a", END, START, "assistant", CHANNEL, "final", MESSAGE, "b"], "a", "b"),
        ([CHANNEL, "ana", "lysis", MESSAGE, "a ", "b", END], "a b", ""),
        ([CHANNEL, "final", MESSAGE, "b"], "", "b"),
        ([CHANNEL, "final json", MESSAGE, "b"], "", "b"),
        ([CHANNEL, "finally", MESSAGE, "b"], "b", ""),
        ([CHANNEL, "commentary to=x", MESSAGE, "a", END, START, "assistant", CHANNEL, "final", MESSAGE, "b"], "a", "b"),
        ([CHANNEL, "analysis", MESSAGE, "a", END, START, "assistant", CHANNEL, "analysis", MESSAGE, "b"], "ab", ""),
        (["plain words"], "", "plain words"),
        (["\n", CHANNEL, "analysis", MESSAGE, "a"], "a", ""),
        ([START, "assistant", MESSAGE, "b"], "", "b"),
        ([CHANNEL, "final", MESSAGE, "b", END, START, "assistant", CHANNEL, "analysis", MESSAGE, "c"], "", "bc"),
        ([CHANNEL, "analysis", MESSAGE, "he says <|channel|>final<|message|>x"], "he says <|channel|>final<|message|>x", ""),
        ([CHANNEL, "a" * (MAX_HEADER_CHARACTERS + 1), "b"], "", "a" * (MAX_HEADER_CHARACTERS + 1) + "b"),
        ([CHANNEL, "analysis"], "", ""),
        ([CHANNEL, "analysis", MESSAGE, "a", MESSAGE, "b"], "ab", ""),
        ([], "", ""),
        ([CHANNEL, "analysis", MESSAGE, "a", END, "The answer ", "is 2."], "a", "The answer is 2."),
        ([CHANNEL, "analysis", MESSAGE, "a", END, "\n2.", END], "a", "2."),
        ([CHANNEL, "analysis", MESSAGE, "a", END, "2.", START, "assistant"], "a", "2."),
        ([CHANNEL, "analysis", MESSAGE, "a", END, "2. " * 40], "a", "2. " * 40),
        ([CHANNEL, "analysis", MESSAGE, "a", END, START, "assistant", " 2."], "a", "2."),
        ([CHANNEL, "analysis", MESSAGE, "a", END, START, "assistant"], "a", ""),
        ([CHANNEL, "analysis", MESSAGE, "a", END, START, "assistant to=functions.x"], "a", ""),
        ([CHANNEL, "analysis", MESSAGE, "a", END, "assistant", CHANNEL, "final", MESSAGE, "b"], "a", "b"),
        ([CHANNEL, "analysis", MESSAGE, "a", END, " ", START, "assistant", CHANNEL, "final", MESSAGE, "b"], "a", "b"),
        ([CHANNEL, "final", MESSAGE, "b", END, " and c"], "", "b and c"),
    ],
)  # fmt: skip
def test_harmonys_channels(events: list[str | int], thought: str, answer: str) -> None:
    assert _told(_channels(), events) == (thought, answer)


@given(st.lists(st.one_of(st.sampled_from([CHANNEL, MESSAGE, END, START]), st.sampled_from(["final", "analysis", "a ", " ", "x" * 70])), max_size=20))  # fmt: skip
def test_harmony_never_thinks_after_it_answered(events: list[str | int]) -> None:
    _told(_channels(), events)


@given(st.lists(st.one_of(st.sampled_from([OPENS, CLOSES]), st.sampled_from(["a", " ", "\n", " " * 70])), max_size=20), st.sampled_from(PAIRS))  # fmt: skip
def test_a_pair_never_thinks_after_it_answered(events: list[str | int], pair: Pair) -> None:
    _told(_as_tokens(pair=pair), events)


# ── which of them a model uses ───────────────────────────────────────────────


def _none(_marker: str) -> None:
    return None


def _all(marker: str) -> int:
    return sorted(MARKERS).index(marker)


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.opens)
def test_a_pair_is_found_in_the_template_or_where_it_opens(pair: Pair) -> None:
    found = detect(f"{{{{ x.split('{pair.closes}') }}}}", "<|assistant|>\n", _none)
    assert isinstance(found, Between) and found.tokens == frozenset()
    assert _told(found, [f"{pair.opens}a{pair.closes}b"]) == ("a", "b")
    for opening in (f"<|assistant|>{pair.opens}", f"<|assistant|>{pair.opens}\n"):
        found = detect("", opening, _none)
        assert found is not None and _told(found, [f"a{pair.closes}b"]) == ("a", "b")
    closed = detect(pair.closes, f"{pair.opens}\n\n{pair.closes}\n\n", _none)
    assert closed is not None and _told(closed, ["b"]) == ("", "b")


def test_a_pair_is_found_in_the_vocabulary() -> None:
    tokens = {"<think>": OPENS, "</think>": CLOSES}
    found = detect("", "", tokens.get)
    assert found is not None and found.tokens == {OPENS, CLOSES}
    assert detect("", "", {"<think>": OPENS}.get) is None


def test_harmony_needs_its_tokens_and_its_template() -> None:
    found = detect("<|channel|>", "<|start|>assistant", _all)
    assert isinstance(found, Channels) and found.tokens == {_all(marker) for marker in HARMONY}
    assert detect("<|channel|>", "<|start|>assistant", _none) is None
    assert not isinstance(detect("", "", _all), Channels)


def test_a_model_that_does_not_think_has_no_splitter() -> None:
    for opening in ("<|im_start|>assistant\n", "<start_of_turn>model\n", "[/INST]", ""):
        assert detect("{% for m in messages %}{{ m.content }}{% endfor %}", opening, _none) is None
