"""One turn in the terminal, event by event, for `ask` and `chat` alike; and what both may be told of it."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Generator
from dataclasses import replace

from govdesk.cli import full, interrupts, output
from govdesk.cli.desk import Unlocked
from govdesk.domain.decision import Deny
from govdesk.domain.ids import ConversationId
from govdesk.domain.redaction import counts
from govdesk.domain.text import terminal_safe
from govdesk.domain.turn import (
    Conversation,
    Decided,
    Ended,
    Length,
    Outcome,
    Reading,
    Released,
    Sampling,
    TooLong,
    TurnEvent,
)
from govdesk.errors import UsageError

MOST_TOKENS = 1_000_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `ask` and `chat` have in common."""
    parser.add_argument("--conversation", metavar="ID", help="go on in this conversation (else a new one)")
    parser.add_argument(
        "--max-tokens",
        type=int,
        metavar="N",
        help="longest answer, with what a model thinks before it (default: an eighth of what the model can "
        "see, 512 to 4096)",
    )
    parser.add_argument(
        "--show-thinking",
        action="store_true",
        help="also print what a reasoning model thinks before it answers, beside the answer or in its JSON",
    )
    full.add_arguments(parser)


def limited(sampling: Sampling, max_tokens: int | None) -> Sampling:
    """With the longest answer that was asked for, or the usual one.

    Raises:
        UsageError: it is no length.
    """
    if max_tokens is None:
        return replace(sampling, length=Length.USUAL)
    if not 0 < max_tokens <= MOST_TOKENS:
        raise UsageError(f"--max-tokens is between 1 and {MOST_TOKENS:,}.")
    return replace(sampling, max_tokens=max_tokens)


def known(named: str | None, unlocked: Unlocked) -> Conversation | None:
    """The conversation that was named; None when none was.

    Raises:
        UsageError: there is none with this id.
    """
    if named is None:
        return None
    found = next((one for one in unlocked.history.conversations() if one.id == named), None)
    if found is None:
        raise UsageError(
            "There is no such conversation.",
            code="conversation.unknown",
            kept="Nothing was asked.",
            todo="`govdesk chat` and `govdesk ask --json` tell the id of each conversation.",
        )
    return found


def summarise(unlocked: Unlocked, conversation: ConversationId, too_long: TooLong, *, quiet: bool) -> Ended:
    """The summary's turn, beside the answer; whether it stands for anything is `Ended.is_whole`."""
    if not quiet:
        output.aside(full.summarising(too_long))
    events = unlocked.chat.summarise(conversation, len(too_long.to_summarise))
    ended, _ = show(unlocked, events, quiet=quiet, write=output.aside)
    if not quiet and not ended.is_whole:
        output.aside(full.NOT_SUMMARISED + "\n")
    return ended


def show(
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
        _say_end(ended, too_long, write)
    return ended, too_long


def _say_end(ended: Ended, too_long: TooLong | None, write: Callable[[str], None]) -> None:
    """What is to be said once a turn is over."""
    if too_long is None:
        with contextlib.suppress(output.ReaderLeft):  # the turn ended before its reader did
            write("\n")
    if ended.explanation:
        output.aside(terminal_safe(ended.explanation) + "\n")
    if ended.outcome is Outcome.CANCELLED:
        output.aside("Stopped.\n")
    if found := findings(ended):
        what = "found" if ended.outcome is Outcome.DENIED else "redacted"
        output.aside(f"{what}: {', '.join(f'{t} × {n}' for t, n in found.items())}\n")


def findings(ended: Ended) -> dict[str, int]:
    """How often which type was found, in prompt, thinking and answer together."""
    found = counts(ended.prompt_findings)
    for entity_type, count in counts((*ended.thinking.findings, *ended.answer_findings)).items():
        found[entity_type] = found.get(entity_type, 0) + count
    return found
