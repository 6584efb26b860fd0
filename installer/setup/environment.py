"""A virtual environment with exactly the pinned packages, each checked against its hash by pip."""

from __future__ import annotations

import csv
import os
import re
import shutil
import sys
from pathlib import Path

from installer.setup.commands import Commands, pip_summary
from installer.setup.files import sha256_of_parts
from installer.setup.report import Report, SetupError
from installer.setup.stamps import STAMPS, Step

_PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s\\;]+)", re.MULTILINE)
_VERSION = re.compile(r'^__version__ = "([^"]+)"', re.MULTILINE)
PYTHON_VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"
NO_INDEX_TODO = (
    "Check the connection or pip's own configuration (an offline machine needs a mirror or a folder of "
    "wheels named there), then run the same command again; what was done is kept."
)


def canonical(name: str) -> str:
    """A package's name as folders spell it (PEP 503, with underscores)."""
    return re.sub(r"[-_.]+", "_", name).lower()


def pins(requirements: str) -> dict[str, str]:
    """Canonical name → version out of a pinned requirements file."""
    return {canonical(name): version for name, version in _PIN.findall(requirements)}


def whole(info: Path) -> bool:
    """True when every file that pip recorded for a package is there with its size.

    Byte code is left out: Python writes it anew.
    """
    try:
        with (info / "RECORD").open(newline="", encoding="utf-8") as stream:
            rows = [(name, size) for name, _, size in csv.reader(stream) if not name.endswith(".pyc")]
        return bool(rows) and all(
            (info.parent / name).stat().st_size == int(size) for name, size in rows if size
        )
    except (OSError, ValueError, csv.Error):
        return False


class Environment:
    """The virtual environment of this checkout.

    Args:
        folder: where it is or will be.
        commands: runs pip.
        report: tells the person.
    """

    def __init__(self, folder: Path, commands: Commands, report: Report) -> None:
        self.folder = folder
        self.python = folder / "bin" / "python"
        self._commands = commands
        self._report = report

    @property
    def stamps(self) -> Path:
        """Where this environment's stamps are."""
        return self.folder / STAMPS

    @property
    def site_packages(self) -> Path:
        """Where its packages are."""
        found = sorted((self.folder / "lib").glob("python3.*/site-packages"))
        if not found:
            raise SetupError(
                f"{self.folder} has no site-packages.", todo=f"Remove {self.folder} and run again."
            )
        return found[-1]

    def create_step(self) -> Step:
        """Make the environment, or take over one that works."""
        inputs = sha256_of_parts("venv 1", str(self.folder), PYTHON_VERSION)
        return Step("venv", f"make the environment {self.folder.name}", inputs, self._create, self._there)

    def packages_step(self, name: str, requirements: Path) -> Step:
        """Install a hash-pinned requirements file."""
        text = requirements.read_text()

        def install() -> None:
            self.forget_damaged(wanted)
            self.pip(
                "install",
                ["--require-hashes", "--only-binary", ":all:", "-r", requirements],
                failed=f"The packages of {requirements.name} could not be installed",
            )

        wanted = pins(text)
        inputs = sha256_of_parts("packages 1", text, PYTHON_VERSION)
        return Step(
            name, f"install the {name} packages ({len(wanted)})", inputs, install, lambda: self.has(wanted)
        )

    def checkout_step(self, checkout: Path) -> Step:
        """Install the checkout itself, editable, without its requirements."""
        project = (checkout / "pyproject.toml").read_text()
        version = (checkout / "govdesk" / "__init__.py").read_text()
        wanted = {"govdesk": "".join(_VERSION.findall(version))}

        def install() -> None:
            self.forget_damaged(wanted)
            self.pip(
                "install",
                ["--no-deps", "--no-build-isolation", "--no-index", "-e", checkout],
                failed="The checkout could not be installed",
            )

        inputs = sha256_of_parts("checkout 1", project, version, str(checkout), PYTHON_VERSION)
        return Step("checkout", "install the checkout", inputs, install, lambda: self.has(wanted))

    def pip(self, verb: str, arguments: list[str | Path], *, failed: str, todo: str = NO_INDEX_TODO) -> None:
        """Run one pip command of this environment; pip's own configuration stays in force."""
        common = ["--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
        if verb == "wheel":
            common = common[:2]
        self._commands.run(
            [self.python, "-m", "pip", verb, *common, *arguments],
            failed=failed,
            todo=todo,
            summary=pip_summary,
        )

    def has(self, wanted: dict[str, str]) -> bool:
        """True when every pinned package is there in its pinned version, and whole."""
        there = self._packages()
        return all((info := there.get(pinned)) is not None and whole(info) for pinned in wanted.items())

    def forget_damaged(self, wanted: dict[str, str]) -> None:
        """Take away pip's record of damaged packages: it would see them as installed and leave them so."""
        there = self._packages()
        for name, version in wanted.items():
            info = there.get((name, version))
            if info is not None and not whole(info):
                self._report.say(f"  {name} {version} is damaged: installed again")
                shutil.rmtree(info)
                if name == "pip":
                    self._bundled_pip()

    def _bundled_pip(self) -> None:
        """The pip that comes with Python, in place of one that may not even start."""
        shutil.rmtree(self.site_packages / "pip", ignore_errors=True)
        self._commands.run(
            [self.python, "-m", "ensurepip"],
            failed=f"pip could not be put back into {self.folder}",
            todo=f"Remove {self.folder} and run again.",
        )

    def _packages(self) -> dict[tuple[str, str], Path]:
        """Canonical name and version of each package → its dist-info folder."""
        try:
            found = sorted(self.site_packages.glob("*.dist-info"))
        except (OSError, SetupError):
            return {}
        split = [(path, path.name.removesuffix(".dist-info").partition("-")) for path in found]
        return {(canonical(name), version): path for path, (name, _, version) in split}

    def _there(self) -> bool:
        return (self.folder / "pyvenv.cfg").exists() and os.access(self.python, os.X_OK)

    def _works(self) -> bool:
        """It runs, was made for this place (its scripts name it), with this Python's version, and has pip."""
        try:
            at_home = str(self.folder) in (self.folder / "bin" / "activate").read_text()
        except (OSError, UnicodeDecodeError):
            return False
        if not at_home or not self._there():
            return False
        question = "import pip, sys; print(sys.prefix); print(*sys.version_info[:2], sep='.')"
        said = self._commands.answer([self.python, "-c", question])
        return said == f"{self.folder}\n{PYTHON_VERSION}\n"

    def _create(self) -> None:
        if self._works():
            self._report.say(f"  using the environment that is there: {self.folder}")
            return
        if self.folder.exists() and any(self.folder.iterdir()):
            if not (self.folder / "pyvenv.cfg").exists():
                raise SetupError(
                    f"{self.folder} is in the way: it is not a virtual environment.",
                    todo="Move it away, or name another folder with VENV=….",
                )
            self._report.say(
                f"  {self.folder} does not work here (moved, or made by another Python): made anew"
            )
            shutil.rmtree(self.folder)
        self._commands.run(
            [sys.executable, "-m", "venv", self.folder],
            failed=f"The environment {self.folder} could not be made",
            todo="Check the disk and the folder's owner.",
        )
