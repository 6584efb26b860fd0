"""What the terminal says and offers when a conversation is too long for the model: nothing is cut unsaid."""

from __future__ import annotations

import argparse
import datetime

from govdesk.domain.text import terminal_safe
from govdesk.domain.turn import Cut, Decided, OldTurn, TooLong, WhenFull

SUMMARISE = "summarise"
"""A choice of its own: two turns, the summary's and then the message's."""
SHORTEN = "shorten"
"""A choice of a person who is there: nothing is sent."""
NOT_SUMMARISED = (
    "There is no summary that came to its end, so the message was not sent. Have it tried again, leave the "
    "oldest turns out, or shorten the message."
)
_LISTED = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The option of `ask` and `chat`."""
    parser.add_argument(
        "--when-full",
        choices=(WhenFull.STOP.value, WhenFull.DROP_OLDEST.value, SUMMARISE),
        default=WhenFull.STOP.value,
        help="when the conversation is too long for the model: stop and say so (the default), leave out its "
        "oldest turns, or have them summarised first; later turns are without them, too",
    )


def first_try(when_full: str) -> WhenFull:
    """With which choice the message is tried first."""
    return WhenFull.STOP if when_full == SUMMARISE else WhenFull(when_full)


def ways_on(too_long: TooLong, again: str = "ask again with one of these:") -> str:
    """The choices for what does not fit, where nobody can be asked; why it does not was said before.

    Args:
        too_long: what does not fit.
        again: how the command is to be given again.
    """
    lines = [_alone(too_long) or f"Shorten the message, or {again}"]
    if too_long.oldest:
        lines.append(f"--when-full=drop-oldest leaves out, and frees {too_long.freed_tokens:,} tokens:")
        lines += _named(too_long.oldest)
    if too_long.to_summarise:
        lines.append(f"--when-full=summarise has {_oldest(len(too_long.to_summarise))} summarised first.")
    return "".join(line + "\n" for line in lines)


def choices(too_long: TooLong) -> dict[str, str]:
    """What a person who is there can choose, and the words for it; it may be shortening alone."""
    ways = {}
    if too_long.oldest:
        frees = f"this frees {too_long.freed_tokens:,} tokens:"
        said = [f"leave out {_oldest(len(too_long.oldest))} from now on; {frees}"]
        ways[WhenFull.DROP_OLDEST.value] = "\n   ".join(said + _named(too_long.oldest))
    if too_long.to_summarise:
        turns = _oldest(len(too_long.to_summarise))
        ways[SUMMARISE] = f"have {turns} summarised first; the summary then stands in their place"
    ways[SHORTEN] = "shorten the message: nothing is sent"
    return ways


def question(too_long: TooLong) -> str:
    """The choices, numbered; or why there is none."""
    ways = list(choices(too_long).values())
    if len(ways) == 1:
        return (_alone(too_long) or "Shorten the message.") + "\n"
    return "How should it go on?\n" + "".join(f"  {number}  {way}\n" for number, way in enumerate(ways, 1))


def _alone(too_long: TooLong) -> str:
    """Said of a message that fits no context; empty when it is the conversation that is too long."""
    if too_long.message_over_tokens <= 0:
        return ""
    about = "about " if too_long.estimated else ""
    return f"The message alone is {about}{too_long.message_over_tokens:,} tokens too long: shorten it."


def left_out(event: Decided) -> str:
    """What the model does not see of the conversation; empty when it sees all of it."""
    cut: Cut = event.cut
    if not cut.turns or cut.summary == event.turn:
        return ""
    instead = ", but the summary of them" if cut.summary is not None else ""
    said = f"The model does not see {_oldest(cut.turns)}{instead}."
    if event.left_out:
        said += " New among them:"
    return "".join(line + "\n" for line in (said, *_named(event.left_out)))


def summarising(too_long: TooLong) -> str:
    """Before the summary's turn."""
    return f"Summarising {_oldest(len(too_long.to_summarise))}; it will stand in their place:\n"


def _oldest(turns: int) -> str:
    return "the oldest turn" if turns == 1 else f"the {turns:,} oldest turns"


def _named(turns: tuple[OldTurn, ...]) -> list[str]:
    lines = [_line(turn) for turn in turns[:_LISTED]]
    if len(turns) > _LISTED:
        lines.append(f"  … and {len(turns) - _LISTED:,} more")
    return lines


def _line(turn: OldTurn) -> str:
    local = datetime.datetime.fromtimestamp(turn.created_utc_ns // 10**9, tz=datetime.UTC).astimezone()
    said = "the summary of older turns" if turn.is_summary else terminal_safe(turn.begins)
    return f"  {local:%Y-%m-%d %H:%M}  {said}"
