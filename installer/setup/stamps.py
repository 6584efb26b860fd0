"""A step that was done and whose inputs and results are unchanged is not done again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from installer.setup.files import write_whole
from installer.setup.report import Report

STAMPS = ".setup"
"""The stamps' folder inside the environment: they go when it goes."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing the set-up does.

    Args:
        name: of its stamp.
        title: for the person.
        inputs: hash of everything the result depends on.
        act: does it; must be safe to repeat after being cut off anywhere.
        intact: quick look whether the result is still there.
    """

    name: str
    title: str
    inputs: str
    act: Callable[[], None]
    intact: Callable[[], bool]


class Stamps:
    """The stamps of one environment: one small file a step, holding the hash of the step's inputs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def holds(self, step: Step) -> bool:
        """True when the step was done with these very inputs and its result is still there."""
        try:
            stamped = (self._folder / step.name).read_text()
        except (OSError, UnicodeDecodeError):
            return False
        return stamped == step.inputs and step.intact()

    def perform(self, step: Step, report: Report) -> bool:
        """Do the step if it has to be done; the stamp is written last. True if it was done now."""
        if self.holds(step):
            return False
        (self._folder / step.name).unlink(missing_ok=True)
        with report.step(step.title):
            step.act()
        write_whole(self._folder / step.name, step.inputs.encode())
        return True
