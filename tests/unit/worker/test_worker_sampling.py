"""Seeds repeat, presets differ, an answer keeps its grammar, and no grammar ends the worker."""

from __future__ import annotations

import json

from govdesk.domain.json_schema import to_grammar
from tests.schemas import ACCEPTED, VALIDATED, validate

# In a process of its own: the library's threads and limits are no part of the tests' process.
_ENGINE = """
import json, os, sys
from govdesk.domain.frames import *
from govdesk.worker import decoding, engine as module, sampling

e = module.Engine((os.open(sys.argv[1], os.O_RDONLY),), LoadModel(context_tokens=512, threads=1))

def ask(text="Say something about the sea.", **changed):
    order = dict(turn="t", messages=(ChatMessage(role="user", text=text),), max_tokens=24, temperature=0.9,
                 top_p=0.95, top_k=100, repeat_penalty=1.1, seed=7, min_p=0.05)
    events = list(e.answer(Generate(**{**order, **changed}), lambda: False))
    return "".join(x.text for x in events if isinstance(x, AnswerPiece)), events[-1]
"""


def _run(isolated, model_file, code: str, *arguments: str) -> str:
    done = isolated(_ENGINE + code, str(model_file), *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_seed_gives_the_same_text_again_and_another_seed_another(isolated, model_file) -> None:
    _run(
        isolated,
        model_file,
        """
first, _ = ask(seed=7)
assert first and ask(seed=7)[0] == first
assert ask(seed=8)[0] != first
assert ask(seed=8, temperature=0.0)[0] == ask(seed=7, temperature=0.0)[0]
""",
    )


def test_min_p_leaves_out_what_is_unlikely(isolated, model_file) -> None:
    _run(
        isolated,
        model_file,
        """
likeliest = ask(temperature=0.0, repeat_penalty=1.0)[0]
wild = dict(temperature=3.0, top_p=1.0, top_k=1000, repeat_penalty=1.0)
assert ask(**wild, min_p=0.0)[0] != likeliest
assert ask(**wild, min_p=1.0)[0] == likeliest  # nothing but the likeliest is as likely as the likeliest
""",
    )


def test_the_short_way_to_the_likeliest_token_is_exact(isolated, model_file) -> None:
    _run(
        isolated,
        model_file,
        """
from llama_cpp import llama_cpp as lib

def whole_vocabulary(order, size):
    chain = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
    lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_penalties(size, 64, order.repeat_penalty, 0.0, 0.0))
    lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_greedy())
    return chain

for text in ("Repeat the word sea for ever.", "Count to forty.", "Write about " + "the sea and the sea " * 20):
    short = ask(text, temperature=0.0, max_tokens=80, repeat_penalty=1.3)
    kept, sampling._chain = sampling._chain, whole_vocabulary
    whole = ask(text, temperature=0.0, max_tokens=80, repeat_penalty=1.3)
    sampling._chain = kept
    assert short[0] == whole[0] and short[0], (short, whole)
""",
    )


def test_an_answer_has_the_shape_of_its_grammar(isolated, model_file) -> None:
    _run(
        isolated,
        model_file,
        r"""
for seed in range(4):
    text, done = ask("Is the sea wet?", grammar='root ::= "yes, " [a-z]{3} "." | "no."', seed=seed)
    assert text == "no." or (text.startswith("yes, ") and len(text) == 9 and text.endswith(".")), text
    assert done.reason == "end", done
accents, done = ask(grammar='root ::= [éèü]{5} "😀"')
assert len(accents) == 6 and accents[-1] == "😀" and set(accents[:5]) <= set("éèü") and done.reason == "end"
""",
    )


def test_an_answer_validates_against_its_schema(isolated, model_file) -> None:
    schemas = [schema for schema in VALIDATED if schema is not True]
    out = _run(
        isolated,
        model_file,
        """
for grammar in json.loads(sys.argv[2]):
    for seed in (1, 2):
        text, done = ask("Give me JSON.", grammar=grammar, seed=seed, max_tokens=200)
        print(json.dumps([text, done.reason]))
""",
        json.dumps([to_grammar(json.dumps(schema)) for schema in schemas]),
    )
    answers = [json.loads(line) for line in out.splitlines()]
    ended = 0
    for schema, (text, reason) in zip([s for s in schemas for _ in range(2)], answers, strict=True):
        if reason == "end":  # one that ran into its limit was cut, and is no JSON
            ended += 1
            assert validate(schema, json.loads(text)), (schema, text)
    assert ended >= len(answers) // 2


def test_the_library_accepts_what_a_schema_accepts_and_nothing_else(isolated, model_file) -> None:
    _run(
        isolated,
        model_file,
        """
import ctypes, math
from llama_cpp import llama_cpp as lib

def written(grammar, text):
    native = lib.llama_sampler_init_grammar(e._vocabulary.handle, grammar.encode(), b"root")
    assert native, grammar
    one = (lib.llama_token_data * 1)()
    tried = lib.llama_token_data_array(data=one, size=1, selected=-1, sorted=False)
    end = lib.llama_vocab_eos(e._vocabulary.handle)
    try:
        for token in [*e._vocabulary.tokenize(text.encode(), special=False), end]:
            one[0] = lib.llama_token_data(id=token, logit=0.0, p=0.0)
            lib.llama_sampler_apply(native, ctypes.byref(tried))
            if one[0].logit == -math.inf:
                return False
            lib.llama_sampler_accept(native, token)
        return True
    finally:
        lib.llama_sampler_free(native)

for grammar, good, bad in json.loads(sys.argv[2]):
    for text in good:
        assert written(grammar, text), (grammar, text)
    for text in bad:
        assert not written(grammar, text), (grammar, text)
""",
        json.dumps([(to_grammar(json.dumps(schema)), good, bad) for schema, good, bad in ACCEPTED]),
    )


def test_a_grammar_that_cannot_be_used_fails_the_answer_and_not_the_worker(isolated, model_file) -> None:
    _run(
        isolated,
        model_file,
        r"""
for bad in ('root ::= root "a" | "b"', 'root ::= "a" root', "(" * 60000, 'x ::= "a"', "root ::= <[1]>",
            'root ::= s\ns ::= "x" s "y" | "x" s "z" | "x"'):
    assert ask(grammar=bad) == ("", AnswerFailed(turn="t", code="grammar.invalid", context_tokens=0)), bad
text, done = ask()
assert text and done.reason in ("end", "length")
""",
    )


def test_a_grammar_with_no_way_on_ends_the_answer_and_not_the_worker(isolated, model_file) -> None:
    _run(
        isolated,
        model_file,
        r"""
from govdesk.domain import gbnf
gbnf.check = lambda text: None  # what no check could see: characters that the model has no tokens for
text, failed = ask(grammar='root ::= "a" [\\x00] "b"', temperature=0.0)
assert (text, failed.code) == ("a", "grammar.stuck"), (text, failed)
sampling.STEP_SECONDS = 0.0
text, failed = ask(grammar='root ::= [a-z]+')
assert failed.code == "grammar.too-slow", failed
assert ask()[1].reason in ("end", "length")
""",
    )
