"""Rules are data that prove themselves: a pack whose examples fail is refused, no rule left out quietly.

A pack is a TOML file, decoded strictly. Every recognizer shows in its examples what it finds
(`positive`, the finding between « and ») and what it does not (`negative`). The examples run
each time the pack is loaded. An example may be a list of strings, which are joined: so that no
string in a pack looks like a live credential.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from govdesk.domain.ids import EntityType
from govdesk.domain.redaction import ENTITY_TYPES
from govdesk.errors import KnownError
from govdesk.redaction.fold import fold
from govdesk.redaction.pattern import Pattern, compile_pattern
from govdesk.redaction.recognizer import (
    ACCEPTED,
    Context,
    Hit,
    PatternRecognizer,
    Recognizer,
    Window,
)
from govdesk.redaction.swallow import SwallowRecognizer
from govdesk.redaction.validators import ENDS, VALIDATORS, Validator

MAX_PACK_BYTES = 1024 * 1024
MAX_MATCH = 16_384
"""Characters that a match may have at most: what a stream may have to hold."""
_REMEMBERED = 512
"""Candidate markings whose answer is remembered: a document repeats a few, and the answer is slow."""
Exceeds = Callable[[str], bool]
Example = str | list[str]
Score = Annotated[float, Meta(ge=0.0, le=1.0)]
Reach = Annotated[int, Meta(ge=0, le=512)]


_ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_PART = re.compile(r"\{([a-z]+)\}")
_NUMBER_OF = r"[ :#.-]{0,3}(?:(?:no|nr|num|number|id)[ :#.-]{0,3}){0,1}\Z"
"""What may stand between a word of context and the candidate that it is adjacent to."""


class PackError(KnownError):
    """A pack of recognizers that cannot be used; nothing is redacted with half the rules."""

    code = "redaction.pack"


class ContextRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Words that change the score when one stands near, or right in front; `*` at the end: may go on."""

    words: list[str]
    weight: Annotated[float, Meta(ge=-1.0, le=1.0)]
    adjacent: bool = False


class RecognizerRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One recognizer as a pack writes it; resources/recognizers/README.md explains each key."""

    id: str
    type: str
    pattern: Annotated[str, Meta(min_length=1)]
    priority: int
    score: Score
    max_length: Annotated[int, Meta(gt=0, le=MAX_MATCH)]
    positive: Annotated[list[Example], Meta(min_length=1)]
    negative: Annotated[list[Example], Meta(min_length=1)]
    ignore_case: bool = False
    whole: bool = False
    swallow_to: str = ""
    run_to: str = ""
    left: str = ""
    right: str = ""
    gate: list[str] = []
    validator: str = ""
    context: list[ContextRule] = []
    context_before: Reach = 0
    context_after: Reach = 0
    stop_words: list[str] = []


class Pack(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file."""

    schema: int
    name: str
    recognizer: list[RecognizerRule]
    parts: dict[str, str] = {}


def load_packs(folder: Path, exceeds_system: Exceeds) -> tuple[Recognizer, ...]:
    """Load every pack of a folder.

    Args:
        folder: where the `*.toml` files are.
        exceeds_system: says of a candidate marking whether it is above what the system may hold.

    Raises:
        PackError: a pack is missing, unreadable, of a wrong shape, or one of its examples fails.
        PatternError: a pattern is outside the language.
    """
    files = sorted(folder.glob("*.toml"))
    if not files:
        raise PackError("The recognizers are missing.", todo="Install GovDesk again.")
    recognizers: list[Recognizer] = []
    for file in files:
        try:
            encoded = file.read_bytes()
        except OSError as error:
            raise PackError(f"The recognizers in {file.name} cannot be read: {error.strerror}.") from error
        recognizers += load_pack(file.name, encoded, exceeds_system)
    ids = [recognizer.id for recognizer in recognizers]
    if len(set(ids)) != len(ids):
        raise PackError("Two recognizers have the same id.")
    return tuple(recognizers)


def load_pack(name: str, encoded: bytes, exceeds_system: Exceeds) -> list[Recognizer]:
    """Decode one pack and run its examples.

    The examples of a rule validated by `exceeds-system` run with a stand-in that says yes to
    everything, because they have to hold on systems of every marking.

    Raises:
        PackError: of a wrong shape, or an example fails.
        PatternError: a pattern is outside the language.
    """
    if len(encoded) > MAX_PACK_BYTES:
        raise PackError(f"The pack {name} is larger than {MAX_PACK_BYTES} bytes.")
    try:
        pack = msgspec.toml.decode(encoded, type=Pack)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise PackError(f"The pack {name} is not of the right shape: {error}.") from error
    if pack.schema != 1:
        raise PackError(f"The pack {name} has schema {pack.schema}; this GovDesk knows 1.")
    rules = [
        msgspec.structs.replace(rule, pattern=_whole(name, rule.pattern, pack.parts))
        for rule in pack.recognizer
    ]
    for rule in rules:
        _prove(name, rule, _build(name, rule, lambda _text: True))
    exceeds = functools.lru_cache(maxsize=_REMEMBERED)(exceeds_system)
    return [_build(name, rule, exceeds) for rule in rules]


def _whole(name: str, pattern: str, parts: dict[str, str]) -> str:
    """A pattern with the pack's named parts in their places."""

    def part(match: re.Match[str]) -> str:
        if match.group(1) not in parts:
            raise PackError(f"The pack {name} names a part {match.group()} that it does not have.")
        return f"(?:{parts[match.group(1)]})"

    return _PART.sub(part, pattern)


def _build(name: str, rule: RecognizerRule, exceeds_system: Exceeds) -> Recognizer:
    if _ID.fullmatch(rule.id) is None:  # not a Meta(pattern=…): msgspec 0.22 crashes at exit with one
        raise PackError(f"The pack {name} has a rule whose id is not words-with-dashes.")
    if rule.type not in ENTITY_TYPES and not rule.type.startswith("CUSTOM."):
        raise PackError(f"The pack {name}, rule {rule.id}: there is no entity type {rule.type}.")
    pattern = _compiled(rule.pattern, rule.left, rule.right)
    if pattern.longest > rule.max_length:
        raise PackError(
            f"The pack {name}, rule {rule.id}: a match can have {pattern.longest} characters; "
            f"max_length says {rule.max_length}."
        )
    entity_type = EntityType(rule.type)
    if rule.swallow_to:
        finish = _compiled(rule.swallow_to, "", "")
        return SwallowRecognizer(
            rule.id, entity_type, rule.priority, pattern, finish, rule.score, rule.ignore_case
        )
    run_to = _compiled(rule.run_to, "", "") if rule.run_to else None
    if run_to is not None and (run_to.longest != 1 or run_to.has_span or rule.context_after):
        raise PackError(f"The pack {name}, rule {rule.id}: run_to is one character, without context_after.")
    if rule.context_after and rule.validator and not (rule.whole or pattern.has_span):
        raise PackError(f"The pack {name}, rule {rule.id}: context_after needs whole = true.")
    lowered = [rule.pattern, rule.run_to, *rule.gate, *rule.stop_words]
    if rule.ignore_case and any(_has_capitals(text) for text in lowered):
        raise PackError(f"The pack {name}, rule {rule.id}: with ignore_case everything is in lower case.")
    return PatternRecognizer(
        id=rule.id,
        type=entity_type,
        priority=rule.priority,
        pattern=pattern,
        score=rule.score,
        on_lower=rule.ignore_case,
        whole=rule.whole or rule.validator == "exceeds-system",  # part of a marking is another marking
        gate=tuple(rule.gate),
        right=re.compile(f"[{rule.right}]", re.ASCII) if rule.right else None,
        validator=_validator(name, rule, exceeds_system),
        context=tuple(
            Context(_words(context.words, adjacent=context.adjacent), context.weight, context.adjacent)
            for context in rule.context
        ),
        wanted=_wanted(rule),
        before=rule.context_before,
        after=rule.context_after,
        stop_words=frozenset(rule.stop_words),
        run_to=run_to,
        ends=ENDS.get(rule.validator),
    )


@functools.lru_cache(maxsize=512)
def _compiled(source: str, left: str, right: str) -> Pattern:
    return compile_pattern(source, left, right)


def _validator(name: str, rule: RecognizerRule, exceeds_system: Exceeds) -> Validator | None:
    if rule.validator == "exceeds-system":
        return exceeds_system
    if not rule.validator:
        return None
    validator = VALIDATORS.get(rule.validator)
    if validator is None:
        raise PackError(f"The pack {name}, rule {rule.id}: there is no validator {rule.validator}.")
    return validator


def _has_capitals(source: str) -> bool:
    """Capitals that stand for themselves: those of escapes and of the group `span` do not."""
    return re.search(r"[A-Z]", re.sub(r"\\.|\(\?P<", "", source)) is not None


def _words(words: Sequence[str], *, adjacent: bool = False) -> re.Pattern[str]:
    alternatives = [
        re.escape(word.removesuffix("*")) + ("" if word.endswith("*") else r"(?![a-z0-9])") for word in words
    ]
    return re.compile(rf"(?<![a-z0-9])(?:{'|'.join(alternatives)})" + (_NUMBER_OF if adjacent else ""))


def _wanted(rule: RecognizerRule) -> re.Pattern[str] | None:
    words = [word for context in rule.context if context.weight > 0 for word in context.words]
    if not words or rule.score >= ACCEPTED:
        return None
    return _words([word.removesuffix("*") + "*" for word in words])  # a candidate may follow at once


def _prove(name: str, rule: RecognizerRule, recognizer: Recognizer) -> None:
    for number, example in enumerate(rule.positive, 1):
        marked = "".join(example)
        start, end = marked.find("«"), marked.find("»") - 1
        found = _found(recognizer, marked.replace("«", "").replace("»", ""))
        if not 0 <= start < end or found != [(start, end)]:
            raise PackError(f"The pack {name}, rule {rule.id}: positive example {number} gives {found}.")
    for number, example in enumerate(rule.negative, 1):
        found = _found(recognizer, "".join(example))
        if found:
            raise PackError(f"The pack {name}, rule {rule.id}: negative example {number} gives {found}.")


def _found(recognizer: Recognizer, text: str) -> list[tuple[int, int]]:
    """Spans found, united, in the folded text."""
    folded, _ = fold(text)
    return _united(recognizer.cursor().advance(Window(folded, final=True)))


def _united(hits: list[Hit]) -> list[tuple[int, int]]:
    spans: list[tuple[int, int]] = []
    for hit in sorted(hits, key=lambda hit: (hit.start, hit.end)):
        if spans and hit.start < spans[-1][1]:
            spans[-1] = (spans[-1][0], max(spans[-1][1], hit.end))
        else:
            spans.append((hit.start, hit.end))
    return spans
