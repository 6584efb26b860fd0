"""Backends come from the installation's folder by absolute path; the variant that is chosen fits the processor."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from govdesk.domain.frames import Devices, FromWorker, ListDevices, Loaded, LoadModel, WorkerHello
from govdesk.process import environment
from govdesk.process.channel import Channel, pair
from govdesk.worker import backends

_HASWELL = "sse4_2 popcnt avx f16c fma avx2 bmi2"
_SKYLAKE = _HASWELL + " avx512f avx512cd avx512vl avx512dq avx512bw"
_ZEN4 = _SKYLAKE + " avx512vbmi avx512_vnni avx512_bf16"
_MACHINES = {
    "Nehalem": ("sse4_2 popcnt", "sse42"),
    "Sandy Bridge": ("sse4_2 popcnt avx", "sandybridge"),
    "Haswell": (_HASWELL, "haswell"),
    "Alder Lake": (_HASWELL + " avx_vnni", "alderlake"),
    "Skylake X": (_SKYLAKE, "skylakex"),
    "Zen 4": (_ZEN4, "zen4"),
    "Sapphire Rapids": (_ZEN4 + " amx_tile amx_int8", "sapphirerapids"),
    "the first x86-64": ("sse sse2", "x64"),
    "AVX-512 switched off by the hypervisor": (_HASWELL + " avx512_vnni", "haswell"),
}


@pytest.mark.parametrize("machine", _MACHINES)
def test_the_fastest_variant_that_fits_comes_first(machine: str) -> None:
    flags, best = _MACHINES[machine]
    assert backends.fitting(frozenset(flags.split()))[0] == best


def test_no_variant_is_offered_that_needs_what_is_missing() -> None:
    everything = frozenset().union(*backends.VARIANTS.values())
    for missing in everything:
        for name in backends.fitting(everything - {missing}):
            assert missing not in backends.VARIANTS[name]
    assert backends.fitting(frozenset()) == ("x64",)


def test_features_are_those_of_the_first_processor() -> None:
    text = "processor : 0\nflags\t\t: sse avx2\n\nprocessor : 1\nflags : sse avx512f\n"
    assert backends.features(text) == {"sse", "avx2"}
    assert backends.features("Features : neon\n") == frozenset()


# Registering a backend is for the life of a process, so each try has one of its own.
_LOAD = """
import os, sys
from pathlib import Path
from govdesk.worker import backends
folder, cpuinfo = Path(sys.argv[1]), Path(sys.argv[2])
try:
    print(backends.load_cpu(folder, cpuinfo))
except backends.BackendError as error:
    print(error.code)
print(backends.load_cpu(folder, cpuinfo) if "again" in sys.argv else "")
"""


def _loadable() -> bool:
    return (backends.FOLDER / "libggml-cpu-x64.so").exists()


needs_loadable = pytest.mark.skipif(
    not _loadable(),
    reason="this environment has the native build of llama.cpp: `make backends` makes the other",
)


def test_a_native_build_needs_no_variant(isolated, tmp_path: Path) -> None:
    if _loadable():
        pytest.skip("this environment has the loadable backends")
    assert isolated(_LOAD, str(tmp_path), "/proc/cpuinfo").stdout.split() == ["native"]


_ANSWER = """
import os, sys
from pathlib import Path
from govdesk.domain.frames import AnswerPiece, ChatMessage, Generate, LoadModel
from govdesk.worker import backends
from govdesk.worker.engine import Engine
print(backends.load_cpu(Path(sys.argv[1]), Path(sys.argv[2])))
engine = Engine((os.open(sys.argv[3], os.O_RDONLY),), LoadModel(context_tokens=64, threads=1))
order = Generate(turn="t", messages=(ChatMessage(role="user", text="Say hello."),), max_tokens=4,
                 temperature=0.0, top_p=1.0, top_k=1, repeat_penalty=1.0, seed=1)
print("".join(event.text for event in engine.answer(order, lambda: False) if isinstance(event, AnswerPiece)))
"""


def test_each_variant_is_first_where_exactly_its_features_are() -> None:
    for name, needed in backends.VARIANTS.items():
        assert backends.fitting(needed)[0] == name


@needs_loadable
@pytest.mark.parametrize("name", backends.VARIANTS)
def test_each_variant_that_fits_this_machine_loads_and_answers(
    isolated, tmp_path: Path, model_file: Path, name: str
) -> None:
    """With a list of features that is made up to have it chosen; the instructions are the real machine's."""
    needed = backends.VARIANTS[name]
    if not needed <= backends.features(Path("/proc/cpuinfo").read_text()):
        pytest.skip("this processor cannot run it")
    (tmp_path / "cpuinfo").write_text(f"flags : {' '.join(needed)}\n")
    done = isolated(_ANSWER, str(backends.FOLDER), str(tmp_path / "cpuinfo"), str(model_file))
    assert done.returncode == 0, done.stderr
    chosen, answer = done.stdout.split("\n", 1)
    assert chosen == name
    assert answer.startswith("Hello"), "by every variant: they round differently, and agree on that"


@needs_loadable
def test_without_any_variant_there_is_an_error_and_no_search(isolated, tmp_path: Path) -> None:
    done = isolated(_LOAD, str(tmp_path), "/proc/cpuinfo")
    assert done.stdout.split() == ["backend.no-cpu"], done.stderr


@needs_loadable
def test_the_librarys_own_scores_agree_with_the_table(isolated) -> None:
    """Each variant's score, asked of it: zero where the table says it does not fit, rising where it does."""
    done = isolated(
        """
import ctypes
from govdesk.worker import backends
for name in backends.VARIANTS:
    library = ctypes.CDLL(str(backends.FOLDER / f"libggml-cpu-{name}.so"))
    print(name, library.ggml_backend_score())
"""
    )
    assert done.returncode == 0, done.stderr
    scores = {line.split()[0]: int(line.split()[1]) for line in done.stdout.splitlines()}
    fits = backends.fitting(backends.features(Path("/proc/cpuinfo").read_text()))
    assert {name for name, score in scores.items() if score > 0} == set(fits)
    falling = [scores[name] for name in fits]
    assert falling == sorted(falling, reverse=True)
    assert len(set(falling)) == len(falling)
    assert set(scores) == {
        path.name.removeprefix("libggml-cpu-").removesuffix(".so")
        for path in backends.FOLDER.glob("libggml-cpu-*.so")
    }


# ── what is planted is never loaded ──────────────────────────────────────────

_EVIL = """
#include <fcntl.h>
#include <unistd.h>
__attribute__((constructor)) static void loaded(void) { write(2, "EVIL LOADED\\n", 12); }
int ggml_backend_score(void) { write(2, "EVIL ASKED\\n", 11); return 1000000; }
void *ggml_backend_init(void) { write(2, "EVIL STARTED\\n", 13); return 0; }
"""


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """A folder full of libraries by every name that a search would find."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    source, first = tmp_path / "evil.c", tmp_path / "libggml-cpu-evil.so"
    source.write_text(_EVIL)
    subprocess.run([compiler, "-shared", "-fPIC", "-w", "-o", first, source], check=True)
    for name in ("cpu", "cpu-x64", "cpu-zen4", "vulkan", "cuda", "blas", "rpc", "base"):
        shutil.copy(first, tmp_path / f"libggml-{name}.so")
    for name in ("llama", "ggml"):
        shutil.copy(first, tmp_path / f"lib{name}.so")
    return tmp_path


_SEARCH = """
import os, sys
os.chdir(sys.argv[1])
from govdesk.worker import backends
backends.ggml().ggml_backend_load_all()
"""


def test_the_librarys_own_search_would_have_loaded_it(isolated, planted: Path) -> None:
    """The attack is real: without it the next test proves nothing."""
    assert "EVIL LOADED" in isolated(_SEARCH, str(planted)).stderr


@pytest.mark.parametrize("gpu", ["", "vulkan"])
def test_a_worker_loads_nothing_that_is_planted(planted: Path, model_file: Path, gpu: str) -> None:
    """The real role, started in the planted folder, with every variable that names a library."""
    ours, theirs = pair()
    named = {"GGML_BACKEND_PATH": "libggml-cpu-evil.so", "LLAMA_CPP_LIB_PATH": ""}
    process = subprocess.Popen(
        [*environment.command(), "--role", "worker", "--channel", str(theirs.fileno()),
         *(("--gpu", gpu) if gpu else ())],
        pass_fds=(theirs.fileno(),),
        env={"PATH": "/usr/bin:/bin", **{name: str(planted / file) for name, file in named.items()}},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        cwd=planted,
    )  # fmt: skip
    theirs.close()
    channel: Channel[FromWorker] = Channel(ours, FromWorker)
    try:
        assert isinstance(_next(channel), WorkerHello)
        if gpu:
            channel.send(ListDevices())
            assert isinstance(_next(channel), Devices)
        memory = os.memfd_create("model", os.MFD_CLOEXEC)
        os.sendfile(memory, os.open(model_file, os.O_RDONLY), 0, model_file.stat().st_size)
        channel.send(LoadModel(context_tokens=64, threads=1), (memory,))
        assert isinstance(_next(channel), Loaded)
        maps = Path(f"/proc/{process.pid}/maps").read_text()
        assert str(backends.FOLDER) in maps
        assert str(planted) not in maps
    finally:
        channel.close()
        _, said = process.communicate(timeout=30)
    assert b"EVIL" not in said


def _next(channel: Channel[FromWorker]) -> FromWorker:
    received = channel.receive(60)
    assert received is not None, "the worker ended"
    return received[0]


@pytest.mark.parametrize("name", ["", "../libggml-cpu-evil", "cpu-evil", "cpu", "rpc", "blas"])
def test_only_graphics_backends_by_their_names_load(isolated, planted: Path, name: str) -> None:
    done = isolated(
        """
import sys
from pathlib import Path
from govdesk.worker import backends
try:
    backends.load_gpu(sys.argv[2], Path(sys.argv[1]))
except backends.BackendError as error:
    print(error.code)
""",
        str(planted),
        name,
    )
    assert done.stdout.split() == ["backend.missing"]
    assert "EVIL" not in done.stderr
