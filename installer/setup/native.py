"""What a build of llama.cpp depends on, what goes into it, and how a kept one is known to be whole."""

from __future__ import annotations

import json
import platform
import re
import shutil
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from installer.setup.files import copy_whole, sha256_of_file, sha256_of_parts, write_whole
from installer.setup.report import SetupError

OPTIONS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DBUILD_SHARED_LIBS=ON",
    "-DLLAMA_BUILD_COMMON=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_TOOLS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_SERVER=OFF",
    "-DLLAMA_BUILD_APP=OFF",
    "-DLLAMA_OPENSSL=OFF",
    "-DGGML_OPENMP=ON",  # its bounded spin beats llama.cpp's own pool on a busy machine
    "-DGGML_NATIVE=ON",
    "-DCMAKE_INSTALL_RPATH=$ORIGIN",  # or CMake leaves the build folder in the libraries' search path
    "-DCMAKE_BUILD_WITH_INSTALL_RPATH=ON",
)
TARGETS = ("llama", "ggml")
PYTHON_PART = (
    "--config-settings=cmake.define.LLAMA_BUILD=OFF",
    "--config-settings=cmake.define.LLAVA_BUILD=OFF",
)
SOURCE_FOLDERS = frozenset({"cmake", "ggml", "include", "licenses", "src", "vendor"})
"""What of llama.cpp the two libraries are made of (files at its top go along)."""
# Variables that change what the compiler or CMake makes: part of the key.
COMPILING = ("CC", "CXX", "CFLAGS", "CXXFLAGS", "CPPFLAGS", "LDFLAGS", "CMAKE_TOOLCHAIN_FILE")
# Variables that would change our options behind our back.
UNWANTED = ("CMAKE_ARGS", "CMAKE_GENERATOR", "CMAKE_BUILD_TYPE", "SKBUILD_CMAKE_ARGS", "SKBUILD_CMAKE_DEFINE")
MANIFEST = "built.json"
_HASHED = re.compile(r"^llama-cpp-python==(\S+)\s*\\\s*--hash=sha256:([0-9a-f]{64})\s*$")


@dataclass(frozen=True, slots=True)
class SourcePackage:
    """The pinned source package."""

    version: str
    sha256: str

    @property
    def file_name(self) -> str:
        """As pip saves it."""
        return f"llama_cpp_python-{self.version}.tar.gz"


def source_package(requirements: str) -> SourcePackage:
    """Read the one pin with its one hash.

    Raises:
        SetupError: the file holds anything else.
    """
    found = _HASHED.match(requirements)
    if not found:
        raise SetupError("llama.txt must pin llama-cpp-python with exactly one hash.", exit_code=1)
    return SourcePackage(found[1], found[2])


def processor(cpuinfo: str) -> str:
    """What `-march=native` looks at: the first processor's model and features."""
    wanted = (
        "vendor_id",
        "cpu family",
        "model",
        "model name",
        "flags",
        "Features",
        "CPU part",
        "CPU implementer",
    )
    lines: dict[str, str] = {}
    for line in cpuinfo.splitlines():
        name, colon, value = line.partition(":")
        if colon and name.strip() in wanted:
            lines.setdefault(name.strip(), " ".join(sorted(value.split())))
    return json.dumps(lines, sort_keys=True)


def build_key(
    source: SourcePackage,
    compilers: str,
    cpu: str,
    environment: Mapping[str, str],
    tools: str,
    options: tuple[str, ...] | None = None,
    targets: tuple[str, ...] = TARGETS,
) -> str:
    """Name of the cache entry: a hash of everything that the built libraries depend on.

    `options`: CMake's, by default those of the native build; `cpu`: empty when the result fits any.
    """
    variables = json.dumps({name: environment.get(name, "") for name in COMPILING}, sort_keys=True)
    parts = (
        source.sha256,
        *(OPTIONS if options is None else options),
        *targets,
        *PYTHON_PART,
        compilers,
        cpu,
        variables,
        tools,
        platform.machine(),
    )
    return sha256_of_parts("llama 1", *parts)[:32]


def record(folder: Path) -> None:
    """Write the hash of every file, and the target of every link, beside them."""
    files = {item.name: sha256_of_file(item) for item in libraries_and_wheel(folder) if not item.is_symlink()}
    links = {item.name: str(item.readlink()) for item in libraries_and_wheel(folder) if item.is_symlink()}
    write_whole(folder / MANIFEST, json.dumps({"files": files, "links": links}, sort_keys=True).encode())


def sound(folder: Path) -> bool:
    """True when the folder holds exactly what was recorded, byte for byte."""
    try:
        recorded = json.loads((folder / MANIFEST).read_bytes())
        files = {
            item.name: sha256_of_file(item) for item in libraries_and_wheel(folder) if not item.is_symlink()
        }
        links = {item.name: str(item.readlink()) for item in libraries_and_wheel(folder) if item.is_symlink()}
    except (OSError, ValueError):
        return False
    return isinstance(recorded, dict) and recorded == {"files": files, "links": links} and bool(files)


def state(folder: Path) -> str:
    """Size, time and hash of every library in a folder, and the target of every link, to look at later."""
    kept = {}
    for item in libraries(folder):
        status = item.lstat()
        kept[item.name] = (
            [str(item.readlink())]
            if item.is_symlink()
            else [status.st_size, status.st_mtime_ns, sha256_of_file(item)]
        )
    return json.dumps(kept, sort_keys=True)


def unchanged(folder: Path, kept: str) -> bool:
    """True when the libraries are those of `state`; only a file whose time changed is hashed."""
    try:
        recorded = json.loads(kept)
        if not recorded or sorted(recorded) != [item.name for item in libraries(folder)]:
            return False
        return all(_same(folder / name, was) for name, was in recorded.items())
    except (OSError, ValueError, TypeError):
        return False


def _same(item: Path, was: list[object]) -> bool:
    if item.is_symlink():
        return was == [str(item.readlink())]
    status = item.lstat()
    size, time_ns, digest = was
    return status.st_size == size and (status.st_mtime_ns == time_ns or sha256_of_file(item) == digest)


def libraries(folder: Path) -> list[Path]:
    """The shared libraries in a folder, and the links that name them."""
    return sorted(folder.glob("lib*.so*"))


def unpack(archive: Path, target: Path) -> None:
    """Take what the two libraries are made of out of the source package.

    Raises:
        SetupError: the package is not what it should be, or names a path outside its folder.
    """
    try:
        with tarfile.open(archive) as package:
            for member in package:
                path = PurePosixPath(member.name)
                inner = path.parts[3:] if path.parts[1:3] == ("vendor", "llama.cpp") else ()
                if not inner or not member.isreg() or (len(inner) > 1 and inner[0] not in SOURCE_FOLDERS):
                    continue
                if path.is_absolute() or ".." in path.parts:
                    raise SetupError(f"{archive.name} names a path outside its folder.", exit_code=1)
                content = package.extractfile(member)
                if content is None:
                    continue
                place = target.joinpath(*inner)
                place.parent.mkdir(parents=True, exist_ok=True)
                with content, place.open("wb") as out:
                    shutil.copyfileobj(content, out)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise SetupError(
            f"{archive.name} cannot be unpacked: {error}.", todo="Check the disk and run again."
        ) from error


def libraries_and_wheel(folder: Path) -> list[Path]:
    """Everything in a kept build but its own record."""
    return sorted(item for item in folder.iterdir() if item.name != MANIFEST)


def copy_link_or_file(source: Path, target: Path) -> None:
    """Copy a library, or the link that names it."""
    if source.is_symlink():
        target.symlink_to(source.readlink())
    else:
        copy_whole(source, target)


def cache_folder(environment: Mapping[str, str]) -> Path:
    """`$XDG_CACHE_HOME/govdesk`, by default `~/.cache/govdesk`."""
    named = environment.get("XDG_CACHE_HOME")
    if named and Path(named).is_absolute():
        return Path(named) / "govdesk"
    return Path(environment.get("HOME") or str(Path.home())) / ".cache" / "govdesk"
