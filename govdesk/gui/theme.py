"""Colours and style sheet, light and dark: text reaches 4.5 : 1 on what it stands on (WCAG 1.4.3)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from string import Template

from PySide6.QtCore import Qt
from PySide6.QtGui import QColor, QGuiApplication, QPalette
from PySide6.QtWidgets import QApplication

from govdesk.config import RESOURCES

_SHEET = RESOURCES / "themes" / "window.qss"


@dataclass(frozen=True, slots=True)
class Theme:
    """One set of colours, `#rrggbb`."""

    dark: bool
    window: str
    surface: str
    sunken: str
    text: str
    muted: str
    border: str
    control: str
    """Outline of controls: 3 : 1 against what is around it (WCAG 1.4.11)."""
    accent: str
    accent_text: str
    selected: str
    mine: str
    notice: str
    notice_text: str
    danger: str
    held: str


LIGHT = Theme(
    dark=False,
    window="#f3f5f8",
    surface="#ffffff",
    sunken="#eef1f5",
    text="#1a1e23",
    muted="#565f6b",
    border="#dbe0e7",
    control="#848e9b",
    accent="#1d5bb8",
    accent_text="#ffffff",
    selected="#dde8f8",
    mine="#eef3fb",
    notice="#fff3d1",
    notice_text="#5a4200",
    danger="#b3261e",
    held="#c4cad2",
)
DARK = Theme(
    dark=True,
    window="#15181c",
    surface="#1c2025",
    sunken="#252a31",
    text="#e4e8ec",
    muted="#a4adb9",
    border="#323942",
    control="#7b8592",
    accent="#79aefc",
    accent_text="#10151c",
    selected="#2b3b52",
    mine="#222a35",
    notice="#3a3016",
    notice_text="#ffdf8f",
    danger="#ff8f86",
    held="#4a525d",
)


def in_force() -> Theme:
    """The theme the system asks for."""
    dark = QGuiApplication.styleHints().colorScheme() is Qt.ColorScheme.Dark
    return DARK if dark else LIGHT


def apply(application: QApplication, theme: Theme) -> None:
    """Give the whole application this theme's palette and style sheet."""
    palette = QPalette()
    role = QPalette.ColorRole
    for colour_role, colour in (
        (role.Window, theme.window),
        (role.WindowText, theme.text),
        (role.Base, theme.surface),
        (role.AlternateBase, theme.sunken),
        (role.Text, theme.text),
        (role.PlaceholderText, theme.muted),
        (role.Button, theme.surface),
        (role.ButtonText, theme.text),
        (role.ToolTipBase, theme.surface),
        (role.ToolTipText, theme.text),
        (role.Highlight, theme.accent),
        (role.HighlightedText, theme.accent_text),
        (role.Link, theme.accent),
    ):
        palette.setColor(colour_role, QColor(colour))
    application.setPalette(palette)
    colours = {name: value for name, value in asdict(theme).items() if isinstance(value, str)}
    tick = RESOURCES / "icons" / ("tick-dark.png" if theme.dark else "tick-light.png")
    colours["tick"] = tick.as_posix()
    application.setStyleSheet(Template(_SHEET.read_text("utf-8")).substitute(colours))
