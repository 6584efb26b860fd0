"""The policy's marking stands at the top and the bottom of every window and dialog, never hidden.

Colours are those of the standard cover sheets and of Executive Order 13526 systems' banners; the text
on them takes whichever of white and near-black reads better (WCAG 2.2 relative luminance).
"""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtGui import QColor
from PySide6.QtWidgets import QLabel, QSizePolicy, QVBoxLayout, QWidget

from govdesk.domain.policy import PolicyInForce
from govdesk.domain.text import visible

_WHITE = "#ffffff"
_INK = "#111111"
_UNKNOWN = "#3c4043"
_SCI = "#fce83a"
_COLOURS = {
    "TOP SECRET": "#ff8c00",
    "SECRET": "#c8102e",
    "CONFIDENTIAL": "#0033a0",
    "CUI": "#502b85",
    "CONTROLLED": "#502b85",
    "UNCLASSIFIED": "#007a33",
}
_SCI_CONTROLS = frozenset({"SI", "TK", "HCS", "RSV", "KDK", "BUR", "SCI"})


def banner_colour(marking: str) -> str:
    """Background for a banner line.

    Args:
        marking: a banner line, e.g. `TOP SECRET//SI//NOFORN`. CUI over UNCLASSIFIED takes CUI's colour.

    Returns:
        `#rrggbb`; a dark neutral for a vocabulary that has no standard colour.
    """
    parts = [part.strip().upper() for part in marking.split("//")]
    level = parts[0]
    if level == "TOP SECRET" and any(_is_sci(part) for part in parts[1:]):
        return _SCI
    if level == "UNCLASSIFIED" and any(part.split("-")[0].split()[:1] == ["CUI"] for part in parts[1:]):
        return _COLOURS["CUI"]
    return _COLOURS.get(level, _UNKNOWN)


def _is_sci(part: str) -> bool:
    return any(control.split("-")[0].split(" ")[0] in _SCI_CONTROLS for control in part.split("/"))


def text_colour(background: str) -> str:
    """White or near-black, whichever has the higher contrast."""
    return max((_WHITE, _INK), key=lambda colour: contrast(colour, background))


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two colours, 1 to 21 (WCAG 2.2, "contrast ratio")."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    q = QColor(colour)
    red, green, blue = (_linear(part) for part in (q.redF(), q.greenF(), q.blueF()))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _linear(part: float) -> float:
    return part / 12.92 if part <= 0.04045 else float(((part + 0.055) / 1.055) ** 2.4)


class Banner(QLabel):
    """One coloured line with the marking. No style sheet of the application reaches it."""

    def __init__(self, marking: str) -> None:
        super().__init__(visible(marking))
        background = banner_colour(marking)
        self.setObjectName("banner")
        self.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setWordWrap(True)
        self.setStyleSheet(
            f"background: {background}; color: {text_colour(background)}; font-weight: 700; padding: 3px 8px;"
        )
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self.setAccessibleName(f"Classification banner: {marking}")


class Bannered(QWidget):
    """A content between two banners; words for a policy that is not a site's stand under the upper one."""

    def __init__(self, policy: PolicyInForce, content: QWidget) -> None:
        super().__init__()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(Banner(policy.policy.system_high))
        if policy.warning:
            warning = QLabel(visible(policy.warning))
            warning.setObjectName("warning")
            warning.setTextFormat(Qt.TextFormat.PlainText)
            warning.setAlignment(Qt.AlignmentFlag.AlignCenter)
            warning.setWordWrap(True)
            warning.setAccessibleName(f"Policy: {policy.warning}")
            layout.addWidget(warning)
        layout.addWidget(content, 1)
        layout.addWidget(Banner(policy.policy.system_high))
