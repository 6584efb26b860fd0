"""What the terminal's commands are given: a desk whose drawers open in order. `govdesk.app` builds it."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Protocol

from govdesk.chat.ports import Ahead, AuditLog, Drafts, History, Redactor
from govdesk.config import Profile
from govdesk.domain.frames import Probe
from govdesk.domain.ids import ConversationId
from govdesk.domain.inference import ComputeCheck
from govdesk.domain.models import Models
from govdesk.domain.policy import PolicyInForce
from govdesk.domain.turn import ModelInfo, Sampling, TurnEvent, WhenFull


class Chat(Protocol):
    """One turn at a time (`govdesk.chat.service.ChatService`)."""

    def run_turn(
        self,
        conversation: ConversationId | None,
        prompt: str,
        sampling: Sampling | None = None,
        when_full: WhenFull = WhenFull.STOP,
    ) -> Generator[TurnEvent, None, None]:
        """The events of one turn."""
        ...

    def summarise(self, conversation: ConversationId, oldest: int) -> Generator[TurnEvent, None, None]:
        """The events of a turn that summarises so many of the oldest."""
        ...

    def cancel(self) -> None:
        """Stop the running answer."""
        ...


@dataclass(frozen=True, slots=True)
class Unlocked:
    """What an unlocked session can do."""

    history: History
    chat: Chat
    drafts: Drafts
    ahead: Ahead


class Desk(Protocol):
    """A session process after its start: walls up, audit open, policy known; locked until `unlock`."""

    @property
    def profile(self) -> Profile:
        """The profile's paths."""
        ...

    @property
    def policy(self) -> PolicyInForce:
        """The policy in force."""
        ...

    @property
    def policy_problem(self) -> str:
        """Why the policy file could not be used; empty when it could."""
        ...

    @property
    def audit(self) -> AuditLog:
        """The log."""
        ...

    @property
    def redactor(self) -> Redactor:
        """Redaction under the policy in force."""
        ...

    @property
    def probes(self) -> tuple[Probe, ...]:
        """What the self-tests found so far: `terminal.tcp4`, and `worker.tcp4` once a worker runs."""
        ...

    @property
    def models(self) -> Models:
        """The models of this workstation."""
        ...

    @property
    def runs_on(self) -> str:
        """What the model computes on, in words."""
        ...

    def graphics_findings(self) -> tuple[ComputeCheck, ...]:
        """Why a graphics card is used or not."""
        ...

    def computing_findings(self) -> tuple[ComputeCheck, ...]:
        """What the loaded model is computed with."""
        ...

    def model(self) -> ModelInfo:
        """The model that answers, loaded."""
        ...

    def record_consent(self, how: str) -> None:
        """Record that the consent text was accepted, and how."""
        ...

    def create_profile(self, passphrase: str) -> str:
        """Make keys and database; returns the recovery code, to be shown once."""
        ...

    def unlock(self, passphrase: str) -> Unlocked:
        """Open history with a passphrase."""
        ...

    def unlock_with_recovery(self, code: str) -> Unlocked:
        """Open history with the recovery code."""
        ...

    def touch(self) -> bool:
        """The person did something: the idle time starts again; False when it was over."""
        ...

    @property
    def idle_over(self) -> bool:
        """True once nobody did anything for as long as the policy allows."""
        ...

    def lock(self) -> None:
        """Record that the session locks; the process ends right after."""
        ...

    def passphrase_problem(self, passphrase: str) -> str:
        """Why a passphrase cannot be chosen; empty when it can."""
        ...
