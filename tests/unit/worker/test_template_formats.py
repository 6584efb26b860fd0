"""The prompts of the model families, letter for letter: as the families write them, and as the library does."""

from __future__ import annotations

import json

import pytest

from govdesk.domain.frames import AnswerDone, Loaded
from govdesk.worker.template import ChatTemplate
from govdesk.worker.thinking import PAIRS
from tests.template_families import CONVERSATIONS, FAMILIES, TODAY, golden
from tests.tiny_models import tiny_bytes
from tests.tiny_worker import TinyWorker

GOLDEN = golden()
_TRIMS = {"llama3": "both", "gemma": "both", "mistral-v3": "answers"}

# In a process of its own: llama_cpp is the worker's.
_ORACLE = """
import ctypes, json, sys
from llama_cpp import llama_cpp as lib
name, conversations = json.loads(sys.argv[1])
for messages in conversations:
    array = (lib.llama_chat_message * len(messages))(
        *[lib.llama_chat_message(role.encode(), text.encode()) for role, text in messages])
    room = ctypes.create_string_buffer(65536)
    size = lib.llama_chat_apply_template(name.encode(), array, len(messages), True, room, 65536)
    assert 0 < size < 65536
    print(json.dumps(room.raw[:size].decode()))
"""
_TOKENS = """
import ctypes, json, os, sys
from llama_cpp import llama_cpp as lib
from govdesk.worker.template import Part
from govdesk.worker.tokens import Vocabulary
quiet = lib.llama_log_callback(lambda *_: None)
lib.llama_log_set(quiet, ctypes.c_void_p(0))
parameters = lib.llama_model_default_params()
parameters.vocab_only = True
model = lib.llama_model_load_from_file(sys.argv[1].encode(), parameters)
v = Vocabulary(model, 4096)
def text(token):
    return v._bytes(token, special=True)
v.keep_for_template(sys.argv[3])
for parts in json.loads(sys.argv[2]):
    tokens = v.prompt(tuple(Part(*part) for part in parts), lambda: False)
    whole = "".join(part for part, _ in parts).encode()
    once = v._begun(v.tokenize(whole, special=True))
    print(json.dumps({
        "specials": [text(token).decode() for token in tokens if v._is_special(token)],
        "text": b"".join(map(text, tokens)).decode(),
        "spaces": v._spaces,
        "as_whole": list(tokens) == once,
    }))
"""


def _said(name: str, role: str, text: str) -> str:
    """What stands in the prompt of a text: some families trim."""
    trims = _TRIMS.get(name)
    return text.strip() if trims == "both" or (trims == "answers" and role == "assistant") else text


@pytest.mark.parametrize("conversation", CONVERSATIONS)
@pytest.mark.parametrize("name", FAMILIES)
def test_the_prompt_is_the_familys(name: str, conversation: str) -> None:
    family, history = FAMILIES[name], CONVERSATIONS[conversation]
    template = ChatTemplate(family.source(name), family.bos, family.eos, lambda: TODAY)
    parts = [(part.text, part.special) for part in template.render(history)]
    assert parts == GOLDEN[name][conversation]
    said = sorted(_said(name, role, text) for role, text in history)
    assert sorted(text for text, special in parts if not special) == said


@pytest.mark.parametrize("name", FAMILIES)
def test_a_long_conversation_has_each_turn_once_in_order_and_none_of_its_thinking(name: str) -> None:
    history = CONVERSATIONS["system, long"]
    parts = [(text, special) for text, special in GOLDEN[name]["system, long"]]
    texts = [text for text, special in parts if not special]
    assert [text for text in texts if text != "BE BRIEF."] == [
        text for role, text in history if role != "system"
    ]
    assert texts.count("BE BRIEF.") == 1
    earlier = "".join(text for text, _ in parts[:-1])
    assert not any(marker in earlier for pair in PAIRS for marker in (pair.opens, pair.closes))
    assert "analysis<|message|>" not in earlier  # harmony's thinking


def test_nothing_golden_is_left_over() -> None:
    assert {name: set(prompts) for name, prompts in GOLDEN.items()} == {
        name: set(CONVERSATIONS) for name in FAMILIES
    }


@pytest.mark.parametrize("name", FAMILIES)
def test_the_library_writes_the_same(isolated, name: str) -> None:
    """`llama_chat_apply_template` knows the formats by name and is no Jinja: an oracle that shares nothing."""
    family = FAMILIES[name]
    known = [
        conversation
        for conversation in CONVERSATIONS
        if conversation not in family.not_for and conversation != "zero"  # where a C string ends
    ]
    assert known
    done = isolated(
        _ORACLE, json.dumps([family.oracle, [CONVERSATIONS[conversation] for conversation in known]])
    )
    assert done.returncode == 0, done.stderr
    for conversation, line in zip(known, done.stdout.splitlines(), strict=True):
        ours = "".join(text for text, _ in GOLDEN[name][conversation])
        assert ours == family.before + json.loads(line) + family.after, conversation


@pytest.mark.parametrize("name", FAMILIES)
def test_special_tokens_are_the_templates_and_never_a_texts(isolated, tmp_path, name: str) -> None:
    family = FAMILIES[name]
    file = tmp_path / "tiny.gguf"
    file.write_bytes(tiny_bytes(family.kind, template=family.source(name)))
    done = isolated(_TOKENS, str(file), json.dumps(list(GOLDEN[name].values())), family.source(name))
    assert done.returncode == 0, done.stderr
    found = dict(zip(GOLDEN[name], map(json.loads, done.stdout.splitlines()), strict=True))
    assert found["system, several"]["specials"] == list(family.specials)
    assert found["spelled"]["specials"] == found["spaces"]["specials"]  # as many, though the texts spell some
    for conversation, seen in found.items():
        prompt = "".join(text for text, _ in GOLDEN[name][conversation])
        begun = "" if prompt.startswith(family.specials[0]) else family.specials[0]  # BOS that the model adds
        read = seen["text"].removeprefix(begun)
        if seen[
            "spaces"
        ]:  # as a SentencePiece vocabulary reads: a space after special tokens, and no line end
            read, prompt = "".join(read.split()), "".join(prompt.replace("\u2581", " ").split())
        assert read == prompt, conversation
        if conversation in {"single", "several", "system, several", "system, long"}:
            assert seen["as_whole"], (conversation, seen)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_real_worker_answers(name: str) -> None:
    family = FAMILIES[name]
    worker = TinyWorker(tiny_bytes(family.kind, template=family.source(name)))
    try:
        assert isinstance(worker.loaded, Loaded)
        for conversation in ("system, several", "spelled"):
            text, done = worker.ask(CONVERSATIONS[conversation], max_tokens=3)
            assert isinstance(done, AnswerDone), (text, done)
            assert done.read_tokens == done.prompt_tokens > 20
    finally:
        worker.stop()


@pytest.mark.parametrize("name", FAMILIES)
def test_what_the_assistant_begins_with(name: str) -> None:
    family = FAMILIES[name]
    opening = ChatTemplate(family.source(name), family.bos, family.eos).opening()
    assert GOLDEN[name]["single"][-1][0].endswith(opening) and opening
    assert opening.endswith("<think>\n") == (name == "deepseek-r1")


def test_a_template_that_fails_has_no_opening() -> None:
    assert ChatTemplate("{{ raise_exception() }}", "", "").opening() == ""
    assert ChatTemplate("{{ messages[0].content }}", "", "").opening() == ""
