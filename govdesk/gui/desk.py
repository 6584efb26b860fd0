"""What the window is given; it can reach nothing else of GovDesk.

`app.py` builds one `Desk` and hands it to `gui.application.run_window`. Every method that may take
longer than a frame is called off the GUI thread (see `tasks.py`), so an implementation must bear
calls from more than one thread: a running turn writes while a search reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from govdesk.chat.ports import Ahead, Drafts, History
from govdesk.domain.frames import Probe
from govdesk.domain.ids import ConversationId
from govdesk.domain.models import Models
from govdesk.domain.policy import PolicyInForce
from govdesk.domain.turn import ModelInfo, Sampling, TurnEvent, WhenFull
from govdesk.errors import GovDeskError


class Chat(Protocol):
    """One turn, start to finish."""

    def run_turn(
        self,
        conversation: ConversationId | None,
        prompt: str,
        sampling: Sampling | None = None,
        when_full: WhenFull = WhenFull.STOP,
    ) -> Iterator[TurnEvent]:
        """The events of one turn; None starts a conversation. Iterated on one thread of its own.

        Raises:
            GovDeskError: the turn could not be audited or stored; nothing was shown that was not recorded.
        """
        ...

    def summarise(self, conversation: ConversationId, oldest: int) -> Iterator[TurnEvent]:
        """The events of a turn in which the model summarises the oldest ones, to stand in their place."""
        ...

    def cancel(self) -> None:
        """Ask the running turn to stop; any thread; returns at once."""
        ...


class Unlocked(Protocol):
    """What is there once the profile is unlocked."""

    @property
    def history(self) -> History:
        """The encrypted history."""
        ...

    @property
    def chat(self) -> Chat:
        """Asks the model."""
        ...

    @property
    def drafts(self) -> Drafts:
        """Keeps what is written and not sent."""
        ...

    @property
    def ahead(self) -> Ahead:
        """Reads what is written before it is sent."""
        ...


class Desk(Protocol):
    """Everything the window may ask for, locked and unlocked."""

    @property
    def policy(self) -> PolicyInForce:
        """The policy in force: banner, consent text, idle lock."""
        ...

    @property
    def probes(self) -> tuple[Probe, ...]:
        """What the self-tests of all processes found so far; read whenever it is shown."""
        ...

    @property
    def profile_exists(self) -> bool:
        """False before the first run's set-up."""
        ...

    @property
    def profile_problem(self) -> GovDeskError | None:
        """Why neither set-up nor unlocking can help, such as a history whose keys are missing; else None."""
        ...

    def record_consent(self, how: str) -> None:
        """Record durably that the person accepted the text; nothing else is shown before it returned.

        Args:
            how: `click`.

        Raises:
            AuditClosedError
        """
        ...

    def passphrase_problem(self, passphrase: str) -> str:
        """Why this passphrase is not acceptable, for the person; empty when it is. Quick."""
        ...

    def create_profile(self, passphrase: str) -> str:
        """Make the profile; return the recovery code, which is shown once. Slow (KDF).

        Raises:
            GovDeskError: no profile was made, or (AuditClosedError) one was made whose record is missing.
        """
        ...

    def unlock(self, passphrase: str) -> Unlocked:
        """Unlock with the passphrase. Slow (KDF).

        Raises:
            WrongPassphraseError, UnreadableError, MachineError
        """
        ...

    def unlock_with_recovery(self, code: str) -> Unlocked:
        """Unlock with the recovery code. Slow (KDF).

        Raises:
            WrongPassphraseError, UnreadableError, MachineError
        """
        ...

    def reset_passphrase(self, code: str, new: str) -> None:
        """Put a new passphrase in place of a forgotten one; the recovery code stays as it is. Slow (KDF).

        Args:
            code: the recovery code.
            new: a passphrase that `passphrase_problem` accepts.

        Raises:
            WrongPassphraseError, UnreadableError, MachineError: the old passphrase still holds, but for
                AuditClosedError: then either may hold.
        """
        ...

    @property
    def models(self) -> Models:
        """The models of this workstation."""
        ...

    def model(self) -> ModelInfo:
        """The model that will answer; starts the worker, slow the first time. After `unlock` only.

        Raises:
            ModelError, WorkerError
        """
        ...

    @property
    def runs_on(self) -> str:
        """What the loaded model computes on, in words: where, and behind a colon why not elsewhere."""
        ...

    def touch(self) -> bool:
        """The person did something: the idle time starts again. Quick.

        Returns:
            False when that time was over already: what was done must not go on, the session locks.
        """
        ...

    @property
    def idle_over(self) -> bool:
        """True once nobody did anything for as long as the policy allows, time asleep included. Quick."""
        ...

    def lock(self) -> None:
        """Tell the broker to start a fresh, locked window; this process ends right after.

        Called on the GUI thread, after the window went blank and the running turn was asked to stop.
        """
        ...

    def on_raise(self, raise_window: Callable[[], None]) -> None:
        """Keep this callback and call it, from any thread, when GovDesk was started a second time."""
        ...
