"""Named figures: printed as a table, written as JSON (name → value, unit)."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path


class Figures:
    """What was measured, in order."""

    def __init__(self) -> None:
        self._values: dict[str, tuple[float, str]] = {}

    def add(self, name: str, value: float, unit: str) -> None:
        """One figure."""
        self._values[name] = (value, unit)

    def spread(self, name: str, values: Sequence[float], unit: str) -> None:
        """The median under the name itself; `.min` and `.max` beside it."""
        self.add(name, statistics.median(values), unit)
        self.add(f"{name}.min", min(values), unit)
        self.add(f"{name}.max", max(values), unit)

    def __str__(self) -> str:
        return "\n".join(f"{name:36} {value:12.3f}  {unit}" for name, (value, unit) in self._values.items())

    def write(self, path: Path) -> None:
        """As JSON."""
        path.parent.mkdir(exist_ok=True)
        values = {name: {"value": value, "unit": unit} for name, (value, unit) in self._values.items()}
        path.write_text(json.dumps(values, indent=1))
