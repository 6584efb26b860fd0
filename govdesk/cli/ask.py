"""`govdesk ask`: the window's turn in the terminal, event by event; `govdesk chat` runs the same turns."""

from __future__ import annotations

import argparse
import contextlib
import sys
from dataclasses import replace
from pathlib import Path

import msgspec

from govdesk.chat.endings import FULL
from govdesk.cli import entry, full, interrupts, output, passphrase, turns
from govdesk.cli.desk import Desk, Unlocked
from govdesk.domain import gbnf, json_schema
from govdesk.domain.ids import ConversationId
from govdesk.domain.turn import Ended, Outcome, Preset, Sampling, WhenFull
from govdesk.errors import UnreadableError, UsageError

MAX_FILE_BYTES = 2 * 1024 * 1024
MAX_STDIN_BYTES = 4 * MAX_FILE_BYTES
_FULL = 1
"""It does not fit: the answer is no, and nothing is missing on the machine."""
_EXIT = {
    Outcome.COMPLETED: 0,
    Outcome.CANCELLED: 1,
    Outcome.DENIED: 1,
    Outcome.FAILED: 5,
    Outcome.INTERRUPTED: 5,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `ask`."""
    parser.add_argument("prompt", nargs="?", help="the question (`-` or none: read it from standard input)")
    parser.add_argument("--file", type=Path, metavar="F", help="put this UTF-8 text file behind the question")
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object at the end, nothing before"
    )
    parser.add_argument(
        "--preset",
        choices=[preset.value for preset in Preset],
        default=Preset.BALANCED.value,
        help="how the answer is chosen (precise: the same again; default: %(default)s)",
    )
    turns.add_arguments(parser)
    parser.add_argument(
        "--temperature",
        type=float,
        metavar="T",
        help="in place of the preset's; 0 gives the same answer again",
    )
    parser.add_argument("--seed", type=_seed, metavar="N", help="repeat an answer (0 to 4294967294)")
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument(
        "--json-schema", type=Path, metavar="F", help="the answer is JSON that this schema accepts"
    )
    shape.add_argument("--grammar", type=Path, metavar="F", help="the answer has this grammar (GBNF)")
    passphrase.add_arguments(parser)


def _seed(text: str) -> int:
    number = int(text) if text.isascii() and text.isdecimal() and len(text) <= 10 else -1
    if not 0 <= number < 2**32 - 1:  # what llama.cpp takes; the last number means any seed there
        raise argparse.ArgumentTypeError(f"{text} is no seed")
    return number


def run(parsed: argparse.Namespace, desk: Desk) -> int:
    """Ask one question; the exit code says how the turn ended."""
    with interrupts.leaving():
        prompt = _prompt(parsed)
    sampling = _sampling(parsed)
    unlocked = entry.unlock(parsed, desk)
    known = turns.known(parsed.conversation, unlocked)
    conversation = known.id if known else None
    if not parsed.json:
        output.aside(entry.marking_line(desk) + "\n")
    interrupts.leave_if_asked()
    try:
        ended = turn(
            unlocked,
            conversation,
            prompt,
            sampling,
            quiet=parsed.json,
            when_full=parsed.when_full,
            show_thinking=parsed.show_thinking,
        )
    except output.ReaderLeft:
        return _EXIT[Outcome.CANCELLED]
    if parsed.json:
        with contextlib.suppress(output.ReaderLeft):
            said = as_json(ended, show_thinking=parsed.show_thinking)
            output.write(msgspec.json.encode(said).decode() + "\n")
    return _FULL if ended.code == FULL else _EXIT[ended.outcome]


def _sampling(parsed: argparse.Namespace) -> Sampling:
    """The preset's numbers, but for those that were given; and the shape of the answer."""
    sampling = Preset(parsed.preset).sampling()
    temperature = sampling.temperature if parsed.temperature is None else parsed.temperature
    if not 0.0 <= temperature <= 5.0:
        raise UsageError("--temperature is between 0 and 5.")
    grammar = ""
    if parsed.grammar is not None:
        grammar = _read(parsed.grammar)
        gbnf.check(grammar)
    elif parsed.json_schema is not None:
        grammar = json_schema.to_grammar(_read(parsed.json_schema))
    chosen = replace(sampling, temperature=temperature, seed=parsed.seed, grammar=grammar)
    return turns.limited(chosen, parsed.max_tokens)


def turn(
    unlocked: Unlocked,
    conversation: ConversationId | None,
    prompt: str,
    sampling: Sampling,
    *,
    quiet: bool,
    when_full: str = WhenFull.STOP.value,
    show_thinking: bool = False,
) -> Ended:
    """Run one turn, or with `summarise` the summary's turn before it, and print what comes (unless quiet).

    Raises:
        ReaderLeft: nobody reads the output any more; the turn was cancelled.
    """
    events = unlocked.chat.run_turn(conversation, prompt, sampling, full.first_try(when_full))
    ended, too_long = turns.show(unlocked, events, quiet=quiet, show_thinking=show_thinking)
    if too_long is None:
        return ended
    if when_full != full.SUMMARISE or not too_long.to_summarise or conversation is None:
        if not quiet:
            output.aside(full.ways_on(too_long))
        return ended
    summary = turns.summarise(unlocked, conversation, too_long, quiet=quiet)
    if summary.is_whole:
        events = unlocked.chat.run_turn(conversation, prompt, sampling)
        ended, too_long = turns.show(unlocked, events, quiet=quiet, show_thinking=show_thinking)
        if too_long is not None and not quiet:
            output.aside(full.ways_on(too_long))
        return ended
    if summary.outcome is Outcome.COMPLETED:  # the message's own end: it does not fit, and was not answered
        return replace(ended, explanation=f"{ended.explanation} {full.NOT_SUMMARISED}")
    return summary


def as_json(ended: Ended, *, show_thinking: bool = False) -> dict[str, object]:
    """The contract's object for a turn, with an `explanation` of any end that is not plain.

    `thinking` is in it only when asked for.
    """
    return {
        **({"thinking": ended.thinking.text} if show_thinking else {}),
        "conversation": ended.conversation,
        "turn": ended.turn,
        "outcome": ended.outcome.value,
        "code": ended.code,
        "text": ended.text,
        "marking": ended.marking,
        "model": {
            "name": ended.model.name if ended.model else "",
            "digest": ended.model.digest if ended.model else "",
        },
        "findings": turns.findings(ended),
        "tokens": {
            "prompt": ended.usage.prompt_tokens,
            "read": ended.usage.read_tokens,
            "answer": ended.usage.answer_tokens,
        },
        "seconds": {
            "first_token": round(ended.usage.first_token_seconds, 3),
            "total": round(ended.usage.total_seconds, 3),
        },
        "sampling": ended.sampling.numbers(),
        "record": ended.record,
        "explanation": ended.explanation,
        "unseen": {"turns": ended.cut.turns, "summary": ended.cut.summary},
    }


def _prompt(parsed: argparse.Namespace) -> str:
    prompt = parsed.prompt
    if prompt in {None, "-"}:
        untrusted = sys.stdin.buffer.read(MAX_STDIN_BYTES + 1)
        if len(untrusted) > MAX_STDIN_BYTES:
            raise UsageError(f"Standard input is larger than {MAX_STDIN_BYTES // 2**20} MiB.")
        prompt = _decode(untrusted, "Standard input")
    if parsed.file is not None:
        prompt = f"{prompt}\n\n{_read(parsed.file)}"
    return str(prompt)


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            read = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise UnreadableError(f"The file {path} cannot be read: {error.strerror}.") from error
    if len(read) > MAX_FILE_BYTES:
        raise UsageError(f"The file {path} is larger than {MAX_FILE_BYTES // 2**20} MiB.")
    return _decode(read, str(path))


def _decode(untrusted_bytes: bytes, name: str) -> str:
    try:
        return untrusted_bytes.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UnreadableError(f"{name} is not UTF-8 text.", todo="Convert it to UTF-8 first.") from error
