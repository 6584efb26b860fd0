"""llama.cpp is built once from the pinned source with only what GovDesk loads, for this processor or for all.

The source package's own build would compile 193 objects and then install libraries that were not
asked for. So its Python part is made without any native build, and the two libraries `llama` and
`ggml` (78 objects) are built straight from the llama.cpp tree inside the same source package. Both
go into the person's cache under a key of everything the result depends on, with the hash of every
file; a damaged entry is built again.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from installer.setup import backends
from installer.setup.backends import NATIVE, Part
from installer.setup.commands import Commands, ninja_summary
from installer.setup.environment import Environment
from installer.setup.files import (
    copy_whole,
    locked,
    scratch_folder,
    sha256_of_file,
    sha256_of_parts,
    write_whole,
)
from installer.setup.native import (
    OPTIONS,
    PYTHON_PART,
    TARGETS,
    UNWANTED,
    build_key,
    copy_link_or_file,
    libraries,
    processor,
    record,
    sound,
    source_package,
    state,
    unchanged,
    unpack,
)
from installer.setup.report import Report, SetupError
from installer.setup.stamps import Step

NATIVE_PART = Part(NATIVE, OPTIONS, TARGETS, with_wheel=True)


class Llama:
    """Obtains, builds, keeps and installs llama.cpp.

    Args:
        requirements: the pin of the source package.
        cache: the person's cache folder of GovDesk.
        environment: where it is installed; its build packages must be there.
        commands: runs pip, cmake and ninja.
        report: tells the person.
        asked: the backends that this run was asked for; None: those that the environment has.
    """

    def __init__(
        self,
        requirements: Path,
        cache: Path,
        environment: Environment,
        commands: Commands,
        report: Report,
        asked: tuple[str, ...] | None = None,
    ) -> None:
        self._asked = asked
        self._requirements = requirements
        self._source = source_package(requirements.read_text())
        self._cache = cache
        self._environment = environment
        self._report = report
        variables = {name: value for name, value in commands.environment.items() if name not in UNWANTED}
        self._commands = Commands(report, commands.log, variables)

    def step(self) -> Step:
        """Build (or find in the cache) and install."""
        kept = backends.read_choice(self._environment.stamps)
        names = self._asked or kept.names
        if names == (NATIVE,):
            wanted = {self._key(NATIVE_PART): NATIVE_PART}
        else:
            parts, left_out = backends.parts(names, self._commands.environment)
            wanted = {self._key(part): part for part in parts}
            if self._asked is None and kept.base == self._key(backends.CPU):
                # the tools of a part need not be there again for it to stay
                wanted = {key: wanted.get(key, Part(name, (), ())) for name, key in kept.keys.items()}
            else:
                for words in left_out:  # at every run that asks for it: the step may have nothing to do
                    self._report.say(words)
        inputs = next(iter(wanted)) if names == (NATIVE,) else sha256_of_parts("backends 1", *sorted(wanted))
        title = "llama.cpp" if names == (NATIVE,) else "llama.cpp with backends to load"

        return Step("llama", title, inputs, lambda: self._install(wanted), self._installed)

    def _key(self, part: Part) -> str:
        chosen = [
            self._commands.environment.get("CC") or "cc",
            self._commands.environment.get("CXX") or "c++",
        ]
        asks = [[*words.split(), "--version"] for words in chosen] + [list(words) for words in part.asks]
        compilers = "".join([*(self._commands.answer(words) or "" for words in asks), *part.versions])
        cpu = processor(Path("/proc/cpuinfo").read_text()) if part.name == NATIVE else ""
        tools = self._requirements.with_name("build.txt").read_text()
        return build_key(
            self._source, compilers, cpu, self._commands.environment, tools, part.options, part.targets
        )

    @property
    def _pinned(self) -> dict[str, str]:
        return {"llama_cpp_python": self._source.version}

    @property
    def _libraries(self) -> Path:
        return self._environment.site_packages / "llama_cpp" / "lib"

    @property
    def _state(self) -> Path:
        return self._environment.stamps / "llama.state"

    def _installed(self) -> bool:
        try:
            kept, folder = self._state.read_text(), self._libraries
        except (OSError, UnicodeDecodeError, SetupError):
            return False
        return unchanged(folder, kept) and self._environment.has(self._pinned)

    def _install(self, wanted: dict[str, Part]) -> None:
        built = [self._built(key, part) for key, part in wanted.items()]
        wheels = sorted(wheel for folder in built for wheel in folder.glob("*.whl"))
        self._environment.forget_damaged(self._pinned)
        self._environment.pip(
            "install",
            ["--no-deps", "--no-index", "--force-reinstall", *wheels],
            failed="The Python part of llama.cpp could not be installed",
        )
        self._libraries.mkdir(exist_ok=True)
        for old in libraries(self._libraries):
            old.unlink()
        for item in (item for folder in built for item in libraries(folder)):
            copy_link_or_file(item, self._libraries / item.name)
        backends.write_choice(
            self._environment.stamps,
            {part.name: key for key, part in wanted.items()},
        )
        write_whole(self._state, state(self._libraries).encode())

    def _built(self, key: str, part: Part) -> Path:
        """The cache entry, built now if it is not there or not whole."""
        folder = self._cache / "build"
        entry = folder / key
        waiting = "another set-up is building llama.cpp; waiting for it"
        with locked(folder / f"{key}.lock", lambda: self._report.say(f"  {waiting}")):
            if sound(entry):
                whose = "for this processor" if part.name == NATIVE else f"({part.name})"
                self._report.say(f"  llama.cpp was built before {whose}: taken from the cache")
                return entry
            if entry.exists():
                self._report.say("  the cached llama.cpp is damaged: built again")
                shutil.rmtree(entry)
            if not part.targets:
                raise SetupError(
                    f"The {part.name} backend has to be built again, and what that takes is missing.",
                    todo="Run `make backends` as you did the first time.",
                )
            self._build(folder / f"{key}.work", entry, part)
        return entry

    def _build(self, work: Path, entry: Path, part: Part) -> None:
        """Build in a folder that stays when it is cut off, so that the next try goes on from there."""
        archive = self._archive()
        source, objects, result = work / "source", work / "objects", work / "result"
        if not (work / "unpacked").exists():
            shutil.rmtree(work, ignore_errors=True)
            unpack(archive, source)
            (work / "unpacked").touch()
        shutil.rmtree(result, ignore_errors=True)
        result.mkdir()
        programs = self._environment.folder / "bin"
        todo = "Read the log (too little memory is the usual cause), then run the same command again."
        ninja = f"-DCMAKE_MAKE_PROGRAM={programs / 'ninja'}"
        self._commands.run(
            [programs / "cmake", "-S", source, "-B", objects, "-G", "Ninja", ninja, *part.options],
            failed="llama.cpp could not be configured",
            todo=todo,
            summary=lambda _: "configuring",
        )
        beside = backends.beside((objects / "CMakeCache.txt").read_text(), part.beside) if part.beside else ()
        self._commands.run(
            [programs / "ninja", "-C", objects, *part.targets],
            failed="llama.cpp could not be built",
            todo=todo,
            summary=_compiling,
        )
        if part.with_wheel:
            self._environment.pip(
                "wheel",
                ["--no-deps", "--no-build-isolation", "--no-index", *PYTHON_PART, "-w", result, archive],
                failed="The Python part of llama.cpp could not be made",
                todo=todo,
            )
        for library in sorted(path for name in part.kept for path in (objects / "bin").glob(name)):
            copy_link_or_file(library, result / library.name)
        for library in beside:
            copy_whole(library.resolve(), result / library.name)
        record(result)
        result.replace(entry)
        shutil.rmtree(work, ignore_errors=True)

    def _archive(self) -> Path:
        """The source package, from the cache or through pip; its hash is checked either way."""
        kept = self._cache / "downloads" / self._source.file_name
        if kept.exists() and sha256_of_file(kept) == self._source.sha256:
            return kept
        with scratch_folder(kept.parent, "fetch") as folder:
            # pip asks a source package for its name, which takes the build packages and no build.
            self._environment.pip(
                "download",
                [
                    "--require-hashes", "--no-binary", ":all:", "--no-deps", "--no-build-isolation",
                    "-d", folder, "-r", self._requirements,
                ],
                failed="The source of llama.cpp could not be obtained",
            )  # fmt: skip
            fetched = folder / self._source.file_name
            if not fetched.exists() or sha256_of_file(fetched) != self._source.sha256:
                raise SetupError("What was obtained is not the pinned source of llama.cpp.", exit_code=1)
            fetched.replace(kept)
        return kept


def _compiling(line: str) -> str | None:
    counted = ninja_summary(line)
    return f"compiling {counted}" if counted else None
