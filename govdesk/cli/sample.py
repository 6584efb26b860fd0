"""`make run` without a display: one sample question through every layer, and what each layer says of it."""

from __future__ import annotations

import secrets

from govdesk.cli import ask
from govdesk.cli.audit import print_records
from govdesk.cli.desk import Desk
from govdesk.domain.redaction import counts
from govdesk.domain.turn import Outcome, Sampling

QUESTION = (
    "In two sentences, what is a memorandum for the record? "
    "Reply to jane.doe@example.gov, whose number is 078-05-1120 in an old advertisement."
)


def run(desk: Desk) -> int:
    """Make the throw-away profile, ask, print answer, decision, findings and records; the exit code."""
    desk.record_consent("sample run, nobody to ask")
    passphrase = secrets.token_hex(16)
    desk.create_profile(passphrase)
    unlocked = desk.unlock(passphrase)
    print(f"{desk.policy.policy.system_high}   {desk.policy.warning}\n")
    print(f"question   {QUESTION}")
    print("answer     ", end="", flush=True)
    ended = ask.turn(unlocked, None, QUESTION, Sampling(max_tokens=120, temperature=0.0), quiet=False)
    seen = unlocked.history.messages(ended.conversation)[0].text if ended.conversation else ""
    model = f"{ended.model.name}, SHA-384 {ended.model.digest[:16]}…" if ended.model else "none"
    usage = ended.usage
    rate = usage.answer_tokens / max(usage.total_seconds - usage.first_token_seconds, 1e-3)
    print(f"\nmodel saw  {seen}")
    print(
        f"decision   {'denied' if ended.outcome is Outcome.DENIED else 'permitted'} under {desk.policy.stamp}"
    )
    print(f"findings   prompt {counts(ended.prompt_findings)}, answer {counts(ended.answer_findings)}")
    print(f"outcome    {ended.outcome.value}; {model}; {rate:.0f} tokens/s")
    print(f"network    none: {len(desk.probes)} channels tried, in every process, all closed")
    print("audit      the two records of this turn:\n")
    print_records(desk.profile.audit, object_id=ended.turn)
    return 0 if ended.outcome is Outcome.COMPLETED else 5
