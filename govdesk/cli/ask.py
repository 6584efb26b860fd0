"""`govdesk ask`: the window's turn in the terminal, event by event; `govdesk chat` runs the same turns."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path

import msgspec

from govdesk.cli import entry, full, interrupts, output, passphrase
from govdesk.cli.desk import Desk, Unlocked
from govdesk.domain import gbnf, json_schema
from govdesk.domain.decision import Deny
from govdesk.domain.ids import ConversationId
from govdesk.domain.redaction import counts
from govdesk.domain.text import terminal_safe
from govdesk.domain.turn import (
    Decided,
    Ended,
    Outcome,
    Preset,
    Reading,
    Released,
    Sampling,
    TooLong,
    TurnEvent,
    WhenFull,
)
from govdesk.errors import UnreadableError, UsageError

MAX_FILE_BYTES = 2 * 1024 * 1024
MAX_STDIN_BYTES = 4 * MAX_FILE_BYTES
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
    parser.add_argument("--conversation", metavar="ID", help="go on in this conversation (else a new one)")
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
    parser.add_argument(
        "--show-thinking",
        action="store_true",
        help="also print what a reasoning model thinks before it answers, beside the answer or in its JSON",
    )
    parser.add_argument("--max-tokens", type=int, default=512, metavar="N", help="longest answer")
    parser.add_argument(
        "--temperature",
        type=float,
        metavar="T",
        help="in place of the preset's; 0 gives the same answer again",
    )
    full.add_arguments(parser)
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
    _known_conversation(parsed.conversation, unlocked)
    conversation = ConversationId(parsed.conversation) if parsed.conversation else None
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
    return _EXIT[ended.outcome]


def _sampling(parsed: argparse.Namespace) -> Sampling:
    """The preset's numbers, but for those that were given; and the shape of the answer."""
    sampling = Preset(parsed.preset).sampling()
    temperature = sampling.temperature if parsed.temperature is None else parsed.temperature
    if not 0 < parsed.max_tokens <= 1_000_000 or not 0.0 <= temperature <= 5.0:
        raise UsageError("--max-tokens is at least 1, --temperature between 0 and 5.")
    grammar = ""
    if parsed.grammar is not None:
        grammar = _read(parsed.grammar)
        gbnf.check(grammar)
    elif parsed.json_schema is not None:
        grammar = json_schema.to_grammar(_read(parsed.json_schema))
    return replace(
        sampling, max_tokens=parsed.max_tokens, temperature=temperature, seed=parsed.seed, grammar=grammar
    )


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
    ended, too_long = _show(unlocked, events, quiet=quiet, show_thinking=show_thinking)
    if too_long is None:
        return ended
    if when_full != full.SUMMARISE or not too_long.to_summarise or conversation is None:
        if not quiet:
            output.aside(full.ways_on(too_long))
        return ended
    if not quiet:
        output.aside(full.summarising(too_long))
    summary = unlocked.chat.summarise(conversation, len(too_long.to_summarise))
    ended, _ = _show(unlocked, summary, quiet=quiet, write=output.aside)
    if ended.outcome is Outcome.COMPLETED:
        events = unlocked.chat.run_turn(conversation, prompt, sampling)
        ended, _ = _show(unlocked, events, quiet=quiet, show_thinking=show_thinking)
    return ended


def _show(
    unlocked: Unlocked,
    events: Generator[TurnEvent, None, None],
    *,
    quiet: bool,
    show_thinking: bool = False,
    write: Callable[[str], None] = output.write,
) -> tuple[Ended, TooLong | None]:
    """Print one turn's answer as it comes (unless quiet), stop it on Ctrl-C.

    Thinking goes beside the answer, and only when asked for; a terminal is told that there is some.
    However printing ends, the turn has its outcome on record when this returns or raises.

    Raises:
        ReaderLeft: nobody reads the output any more; the turn was cancelled.
    """
    ended: Ended | None = None
    too_long: TooLong | None = None
    reading = not quiet and sys.stderr is not None and sys.stderr.isatty()
    thought = False
    with interrupts.stopping(unlocked.chat), contextlib.closing(events):
        for event in events:
            match event:
                case Decided(decision=Deny(rule=rule)) if not quiet:
                    output.aside(f"Denied by policy ({rule}).\n")
                case Decided() if not quiet and (said := full.left_out(event)):
                    output.aside(said)
                case TooLong():
                    too_long = event
                case Reading(done_tokens=done, total_tokens=total) if reading:
                    output.aside(f"\rreading {100 * done // max(total, 1)} %  ")
                case Released(text=text, thinking=True) if not quiet:
                    if show_thinking:
                        output.aside(("" if thought else "Thinking: ") + terminal_safe(text))
                        thought, reading = True, False
                    elif reading:
                        output.aside("\rthinking …      ")
                case Released(text=text) if not quiet:
                    if thought:
                        output.aside("\n\n")
                        thought = False
                    if reading:
                        output.aside("\r             \r")
                        reading = False
                    write(terminal_safe(text))
                case Ended():
                    ended = event
    assert ended is not None  # noqa: S101  the last event of every turn
    if not quiet:
        if too_long is None:
            with contextlib.suppress(output.ReaderLeft):  # the turn ended before its reader did
                write("\n")
        if ended.explanation:
            output.aside(terminal_safe(ended.explanation) + "\n")
        if ended.outcome is Outcome.CANCELLED:
            output.aside("Stopped.\n")
        if findings := _findings(ended):
            what = "found" if ended.outcome is Outcome.DENIED else "redacted"
            output.aside(f"{what}: {', '.join(f'{t} × {n}' for t, n in findings.items())}\n")
    return ended, too_long


def _findings(ended: Ended) -> dict[str, int]:
    """How often which type was found, in prompt, thinking and answer together."""
    findings = counts(ended.prompt_findings)
    for entity_type, count in counts((*ended.thinking.findings, *ended.answer_findings)).items():
        findings[entity_type] = findings.get(entity_type, 0) + count
    return findings


def as_json(ended: Ended, *, show_thinking: bool = False) -> dict[str, object]:
    """The contract's object for a turn, with an `explanation` of any end that is not plain.

    `thinking` is in it only when asked for.
    """
    return {
        **({"thinking": ended.thinking.text} if show_thinking else {}),
        "conversation": ended.conversation,
        "turn": ended.turn,
        "outcome": ended.outcome.value,
        "text": ended.text,
        "marking": ended.marking,
        "model": {
            "name": ended.model.name if ended.model else "",
            "digest": ended.model.digest if ended.model else "",
        },
        "findings": _findings(ended),
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


def _known_conversation(named: str | None, unlocked: Unlocked) -> None:
    if named is not None and all(known.id != named for known in unlocked.history.conversations()):
        raise UsageError(
            "There is no such conversation.",
            code="conversation.unknown",
            kept="Nothing was asked.",
            todo="`govdesk ask --json` prints the id of each conversation it starts.",
        )
