"""Named figures: printed as a table, written as JSON beside the machine that they are of."""

from __future__ import annotations

import contextlib
import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path


class Figures:
    """What was measured, in order.

    Args:
        machine: what the figures are of.
    """

    def __init__(self, machine: Mapping[str, str] | None = None) -> None:
        self._machine = dict(machine or {})
        self._values: dict[str, tuple[float, str]] = {}
        self._shown: set[str] = set()
        self._prefix = ""

    @contextlib.contextmanager
    def under(self, prefix: str) -> Iterator[None]:
        """What is added in this block has the prefix before its name."""
        before, self._prefix = self._prefix, self._prefix + prefix
        try:
            yield
        finally:
            self._prefix = before

    def add(self, name: str, value: float, unit: str) -> None:
        """One figure."""
        self._values[self._prefix + name] = (value, unit)

    def spread(self, name: str, values: Sequence[float], unit: str) -> None:
        """The median under the name itself; `.min` and `.max` beside it."""
        self.add(name, statistics.median(values), unit)
        self.add(f"{name}.min", min(values), unit)
        self.add(f"{name}.max", max(values), unit)

    def show(self, path: Path) -> None:
        """Print what was added since the last time, and write all of it: a bench that is ended keeps what it has."""
        new = {name: found for name, found in self._values.items() if name not in self._shown}
        width = max((len(name) for name in new), default=0)
        for name, (value, unit) in new.items():
            print(f"{name:{width}}  {value:12.3f}  {unit}", flush=True)
        self._shown |= new.keys()
        self.write(path)

    def write(self, path: Path) -> None:
        """As JSON: `machine` (name → words) and `figures` (name → value, unit)."""
        path.parent.mkdir(exist_ok=True)
        values = {name: {"value": value, "unit": unit} for name, (value, unit) in self._values.items()}
        path.write_text(json.dumps({"machine": self._machine, "figures": values}, indent=1))
